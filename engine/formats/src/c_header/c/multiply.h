/* ---- A matrix times the prepared input, with its bias ---- */

static inline void model_multiply(const model_matrix *w, model_input *in, float *out) {
    size_t row;
    w->multiply(w, in, out);
    if (w->bias != NULL) {
        for (row = 0; row < w->rows; ++row) {
            out[row] += w->bias[row];
        }
    }
}
