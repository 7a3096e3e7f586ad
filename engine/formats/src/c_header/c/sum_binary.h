/* ---- Sum of binary weights times int8 activations. Of a span of n columns, byte j holds columns j, j + n/8, ... j + 7n/8 in a
 * bit each (low bit first): 0, 1 for -1, +1. ---- */

static inline int32_t model_sum_binary(const uint8_t *w, const int16_t *x, size_t n, int32_t total) {
    const size_t plane = (n + 7) / 8;
    int32_t sum = 0;
    size_t j = 0, l, p;
    while (j + 16 <= plane) {
        /* Eight products of at most 127 a block: 32 blocks fit 16 bits. */
        int16_t lanes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
        size_t blocks = (plane - j) / 16;
        for (blocks = blocks > 32 ? 32 : blocks; blocks > 0; --blocks, j += 16) {
            uint16_t rest[16];
            for (l = 0; l < 16; ++l) {
                rest[l] = w[j + l];
            }
            for (p = 0; p < 8; ++p) {
                const int16_t *at = x + p * plane + j;
                for (l = 0; l < 16; ++l) {
                    lanes[l] = (int16_t)(lanes[l] + (rest[l] & 1) * at[l]);
                    rest[l] = rest[l] >> 1;
                }
            }
        }
        for (l = 0; l < 16; ++l) {
            sum += lanes[l];
        }
    }
    for (; j < plane; ++j) {
        for (p = 0; p < 8; ++p) {
            sum += (w[j] >> p & 1) * x[p * plane + j];
        }
    }
    return 2 * sum - total;
}
