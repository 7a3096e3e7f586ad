/* ---- Squared ReLU ---- */

static inline float model_activate(float x) {
    const float r = x > 0.0f ? x : 0.0f;
    return r * r;
}
