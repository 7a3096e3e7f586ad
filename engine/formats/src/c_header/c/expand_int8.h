static inline void model_expand_int8(const void *span, float scale, float *out, size_t n) {
    const int8_t *codes = (const int8_t *)span;
    size_t i;
    for (i = 0; i < n; ++i) {
        out[i] = scale * (float)codes[i];
    }
}
