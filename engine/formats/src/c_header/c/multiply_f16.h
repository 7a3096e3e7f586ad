/* ---- out = w * x, F16 weights, in sixteen interleaved sums ---- */

static inline void model_multiply_f16(const model_matrix *w, model_input *in, float *out) {
    const uint16_t *weights = (const uint16_t *)w->data;
    const size_t n = w->cols;
    size_t row, i, l;
    for (row = 0; row < w->rows; ++row, weights += n) {
        const float *x = in->values;
        float lanes[16];
        for (l = 0; l < 16; ++l) {
            lanes[l] = 0.0f;
        }
        for (i = 0; i + 16 <= n; i += 16) {
            for (l = 0; l < 16; ++l) {
                lanes[l] += model_half(weights[i + l]) * x[i + l];
            }
        }
        for (l = 0; i + l < n; ++l) {
            lanes[l] += model_half(weights[i + l]) * x[i + l];
        }
        out[row] = model_fold(lanes, 16);
    }
}
