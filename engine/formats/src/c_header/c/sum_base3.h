/* ---- Sum of ternary weights times int8 activations, five weights a byte. Of a span of n columns, byte j holds columns j,
 * j + p, ... j + 4p with p = n/5, as the fraction 0.d0 d1 d2 d3 d4 in base 3 of digits 0, 1, 2 for -1, 0, +1: multiplying by 3
 * pushes the next digit over the point (Tim Hutt's packing, as in TQ1_0 of llama.cpp). ---- */

static inline int32_t model_sum_base3(const uint8_t *w, const int16_t *x, size_t n, int32_t total) {
    const size_t plane = (n + 4) / 5;
    int32_t sum = -total;
    size_t j = 0, l, p;
    while (j + 16 <= plane) {
        /* Five products of at most 2 * 127 a block: 24 blocks fit 16 bits. */
        int16_t lanes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
        size_t blocks = (plane - j) / 16;
        for (blocks = blocks > 24 ? 24 : blocks; blocks > 0; --blocks, j += 16) {
            uint16_t rest[16];
            for (l = 0; l < 16; ++l) {
                rest[l] = w[j + l];
            }
            for (p = 0; p < 5; ++p) {
                const int16_t *at = x + p * plane + j;
                for (l = 0; l < 16; ++l) {
                    const uint16_t next = (uint16_t)(rest[l] * 3);
                    lanes[l] = (int16_t)(lanes[l] + (next >> 8) * at[l]);
                    rest[l] = next & 0xff;
                }
            }
        }
        for (l = 0; l < 16; ++l) {
            sum += lanes[l];
        }
    }
    for (; j < plane; ++j) {
        unsigned rest = w[j];
        for (p = 0; p < 5; ++p) {
            sum += (int32_t)(rest * 3 >> 8) * x[p * plane + j];
            rest = rest * 3 & 0xff;
        }
    }
    return sum;
}
