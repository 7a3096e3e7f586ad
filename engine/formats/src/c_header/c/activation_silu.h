/* ---- SiLU ---- */

static inline float model_activate(float x) {
    return x * (1.0f / (1.0f + model_exp(-x)));
}
