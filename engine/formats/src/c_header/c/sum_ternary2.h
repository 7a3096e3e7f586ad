/* ---- Sum of ternary weights times int8 activations. Of a span of n columns, byte j holds columns j, j + n/4, j + n/2 and
 * j + 3n/4 in two bits each (low bits first): 0, 1, 2 for -1, 0, +1. Planes like these need no shuffling, and compilers turn
 * the blocks of sixteen into vectors. ---- */

static inline int32_t model_sum_ternary2(const uint8_t *w, const int16_t *x, size_t n, int32_t total) {
    const size_t plane = (n + 3) / 4;
    const int16_t *x1 = x + plane, *x2 = x1 + plane, *x3 = x2 + plane;
    int32_t sum = -total;
    size_t j = 0, l;
    while (j + 16 <= plane) {
        /* Four products of at most 2 * 127 a block: 32 blocks fit 16 bits. */
        int16_t lanes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
        size_t blocks = (plane - j) / 16;
        for (blocks = blocks > 32 ? 32 : blocks; blocks > 0; --blocks, j += 16) {
            for (l = 0; l < 16; ++l) {
                const int b = w[j + l];
                lanes[l] = (int16_t)(lanes[l] + (b & 3) * x[j + l] + (b >> 2 & 3) * x1[j + l]
                                     + (b >> 4 & 3) * x2[j + l] + (b >> 6) * x3[j + l]);
            }
        }
        for (l = 0; l < 16; ++l) {
            sum += lanes[l];
        }
    }
    for (; j < plane; ++j) {
        const int b = w[j];
        sum += (b & 3) * x[j] + (b >> 2 & 3) * x1[j] + (b >> 4 & 3) * x2[j] + (b >> 6) * x3[j];
    }
    return sum;
}
