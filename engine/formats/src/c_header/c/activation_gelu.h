/* ---- GELU, tanh form ---- */

static inline float model_activate(float x) {
    return 0.5f * x * (1.0f + model_tanh(0.7978846f * (x + 0.044715f * x * x * x)));
}
