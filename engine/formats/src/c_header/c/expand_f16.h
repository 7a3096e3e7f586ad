static inline void model_expand_f16(const void *span, float scale, float *out, size_t n) {
    const uint16_t *weights = (const uint16_t *)span;
    size_t i;
    (void)scale;
    for (i = 0; i < n; ++i) {
        out[i] = model_half(weights[i]);
    }
}
