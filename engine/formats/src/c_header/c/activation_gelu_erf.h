/* ---- GELU, with the error function (Numerical Recipes, section 6.2) ---- */

static inline float model_activate(float x) {
    const float z = (x < 0.0f ? -x : x) * 0.70710678f;
    const float t = 1.0f / (1.0f + 0.5f * z);
    float p = 0.17087277f;
    p = p * t - 0.82215223f;
    p = p * t + 1.48851587f;
    p = p * t - 1.13520398f;
    p = p * t + 0.27886807f;
    p = p * t - 0.18628806f;
    p = p * t + 0.09678418f;
    p = p * t + 0.37409196f;
    p = p * t + 1.00002368f;
    p = p * t - 1.26551223f;
    const float tail = 0.5f * t * model_exp(p - z * z);
    return x * (x < 0.0f ? tail : 1.0f - tail);
}

