/* ---- out = w * x, quantised weights with float inputs ---- */

static inline void model_multiply_float(const model_matrix *w, model_input *in, float *out) {
    const uint8_t *codes = (const uint8_t *)w->data;
    const float *scale = w->scales;
    size_t row, at;
    for (row = 0; row < w->rows; ++row) {
        for (at = 0; at < w->cols; at += w->span) {
            w->expand(codes, *scale, in->line + at, w->span);
            codes += w->span_bytes;
            scale += w->scale_step;
        }
        out[row] = model_dot(in->line, in->values, w->cols);
    }
}
