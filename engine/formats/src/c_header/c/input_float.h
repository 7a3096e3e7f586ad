/* ---- The input of matrices: floats ---- */

static inline void model_prepare(model_input *in, const float *x, const model_norm *norm, size_t n) {
    size_t i;
    if (norm->weight != NULL) {
        model_normalize(x, norm, in->values, n);
        return;
    }
    for (i = 0; i < n; ++i) {
        in->values[i] = x[i];
    }
}
