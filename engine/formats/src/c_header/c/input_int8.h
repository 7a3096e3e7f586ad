/* ---- The input of matrices: floats for F16 ones, int8 with a scale per token for the others ---- */

static inline void model_prepare(model_input *in, const float *x, const model_norm *norm, size_t n) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: rounds to an integer, half to even */
    float largest = 1e-5f;
    size_t i;
    if (norm->weight != NULL) {
        model_normalize(x, norm, in->values, n);
    } else {
        for (i = 0; i < n; ++i) {
            in->values[i] = x[i];
        }
    }
    for (i = 0; i < n; ++i) {
        const float size = in->values[i] < 0.0f ? -in->values[i] : in->values[i];
        largest = size > largest ? size : largest;
    }
    in->scale = largest / 127.0f;
    for (i = 0; i < n; ++i) {
        in->codes[i] = (int16_t)((in->values[i] / in->scale + magic) - magic);
    }
    /* Planes of packed weights may reach past a ragged end, where their codes are zero. */
    for (i = n; i < n + MODEL_PADDING; ++i) {
        in->codes[i] = 0;
    }
}
