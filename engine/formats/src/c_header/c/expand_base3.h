static inline void model_expand_base3(const void *span, float scale, float *out, size_t n) {
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    const uint8_t *codes = (const uint8_t *)span;
    const size_t plane = (n + 4) / 5;
    size_t i;
    for (i = 0; i < n; ++i) {
        const uint8_t rest = (uint8_t)(codes[i % plane] * powers[i / plane]);
        out[i] = scale * (float)((rest * 3 >> 8) - 1);
    }
}
