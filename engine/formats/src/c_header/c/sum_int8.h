/* ---- Sum of int8 weights times int8 activations ---- */

static inline int32_t model_sum_int8(const uint8_t *codes, const int16_t *x, size_t n, int32_t total) {
    const int8_t *w = (const int8_t *)codes;
    int32_t lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    const size_t whole = n / 8 * 8;
    int32_t sum = 0;
    size_t i, l;
    (void)total;
    for (i = 0; i < whole; i += 8) {
        for (l = 0; l < 8; ++l) {
            lanes[l] += w[i + l] * x[i + l];
        }
    }
    for (i = whole; i < n; ++i) {
        sum += w[i] * x[i];
    }
    for (l = 0; l < 8; ++l) {
        sum += lanes[l];
    }
    return sum;
}
