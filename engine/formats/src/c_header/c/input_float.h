/* ---- The input of matrices: floats ---- */

static inline void model_prepare(model_input *in, const float *x, const float *norm, size_t n) {
    size_t i;
    if (norm != NULL) {
        model_rms_norm(x, norm, in->values, n);
        return;
    }
    for (i = 0; i < n; ++i) {
        in->values[i] = x[i];
    }
}
