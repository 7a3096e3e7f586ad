/* ---- out = w * x, quantised weights with float inputs, in sixteen interleaved sums of codes under every scale ---- */

static inline float model_dot_codes(const float *codes, const float *x, size_t n) {
    float lanes[16];
    size_t i, l;
    for (l = 0; l < 16; ++l) {
        lanes[l] = 0.0f;
    }
    for (i = 0; i + 16 <= n; i += 16) {
        for (l = 0; l < 16; ++l) {
            lanes[l] += codes[i + l] * x[i + l];
        }
    }
    for (l = 0; i + l < n; ++l) {
        lanes[l] += codes[i + l] * x[i + l];
    }
    return model_fold(lanes, 16);
}

static inline void model_multiply_float(const model_matrix *w, model_input *in, float *out) {
    const uint8_t *codes = (const uint8_t *)w->data;
    const float *scale = w->scales;
    size_t row, at;
    for (row = 0; row < w->rows; ++row) {
        float sum = 0.0f;
        for (at = 0; at < w->cols; at += w->span) {
            w->expand(codes, 1.0f, in->line, w->span);
            sum += *scale * model_dot_codes(in->line, in->values + at, w->span);
            codes += w->span_bytes;
            scale += w->scale_step;
        }
        out[row] = sum;
    }
}
