/* ---- out = w * x, exact integer sums under every scale ---- */

static inline void model_multiply_int8(const model_matrix *w, model_input *in, float *out) {
    const uint8_t *codes = (const uint8_t *)w->data;
    const float *scale = w->scales;
    const size_t spans = w->cols / w->span;
    size_t row, s, i;
    for (s = 0; s < spans; ++s) {
        in->totals[s] = 0;
        for (i = 0; i < w->span; ++i) {
            in->totals[s] += in->codes[s * w->span + i];
        }
    }
    for (row = 0; row < w->rows; ++row) {
        float sum = 0.0f;
        for (s = 0; s < spans; ++s) {
            sum += *scale * (float)w->sum(codes, in->codes + s * w->span, w->span, in->totals[s]);
            codes += w->span_bytes;
            scale += w->scale_step;
        }
        out[row] = sum * in->scale;
    }
}
