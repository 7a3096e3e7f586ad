static inline void model_expand_binary(const void *span, float scale, float *out, size_t n) {
    const uint8_t *codes = (const uint8_t *)span;
    const size_t plane = (n + 7) / 8;
    size_t i;
    for (i = 0; i < n; ++i) {
        out[i] = scale * (float)(2 * (codes[i % plane] >> (i / plane) & 1) - 1);
    }
}
