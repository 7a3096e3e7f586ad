/* ---- GELU, tanh form ---- */

static inline float model_tanh(float x) {
    const float size = x < 0.0f ? -x : x;
    const float e = model_exp(-2.0f * size);
    /* Below 1e-2 the quotient cancels. */
    const float t = size < 1e-2f ? size - size * size * size * (1.0f / 3.0f) : (1.0f - e) / (1.0f + e);
    return x < 0.0f ? -t : t;
}

static inline float model_activate(float x) {
    return 0.5f * x * (1.0f + model_tanh(0.7978846f * (x + 0.044715f * x * x * x)));
}
