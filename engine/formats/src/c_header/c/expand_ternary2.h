static inline void model_expand_ternary2(const void *span, float scale, float *out, size_t n) {
    const uint8_t *codes = (const uint8_t *)span;
    const size_t plane = (n + 3) / 4;
    size_t i;
    for (i = 0; i < n; ++i) {
        out[i] = scale * (float)((codes[i % plane] >> (2 * (i / plane)) & 3) - 1);
    }
}
