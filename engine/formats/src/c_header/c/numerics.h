/* ---- Scalars and sums: the engine's own, in its order of operations, so that logits agree to the bit ---- */

/* Compilers define what a union's other member reads as; a copy of bytes would need string.h. */
typedef union {
    float value;
    uint32_t bits;
} model_word;

static inline float model_from_bits(uint32_t bits) {
    model_word w;
    w.bits = bits;
    return w.value;
}

static inline uint32_t model_to_bits(float value) {
    model_word w;
    w.value = value;
    return w.bits;
}

/* binary16 to float by moving the exponent. */
static inline float model_half(uint16_t h) {
    const float size = model_from_bits((uint32_t)(h & 0x7fffu) << 13) * model_from_bits(0x77800000u);
    return model_from_bits(model_to_bits(size) | (uint32_t)(h & 0x8000u) << 16);
}

/* e^x: 2^n times a polynomial (Cephes). Adding 1.5 * 2^23 leaves the nearest integer in the low bits. */
static inline float model_exp(float x) {
    const float magic = 12582912.0f;
    const float clamped = x < -87.3f ? -87.3f : x > 88.3f ? 88.3f : x;
    const float shifted = clamped * 1.44269504f + magic;
    const float n = shifted - magic;
    const float r = clamped - n * 0.6933594f - n * -2.1219444e-4f;
    const uint32_t exponent = model_to_bits(shifted) - model_to_bits(magic);
    float p = 1.9875691e-4f;
    p = p * r + 1.3981999e-3f;
    p = p * r + 8.333452e-3f;
    p = p * r + 4.1665796e-2f;
    p = p * r + 1.6666665e-1f;
    p = p * r + 5e-1f;
    p = p * (r * r) + r + 1.0f;
    return x < -87.3f ? 0.0f : p * model_from_bits((exponent + 127u) << 23);
}

/* Sum of width interleaved partial sums, a power of two of them. */
static inline float model_fold(float *lanes, size_t width) {
    size_t i;
    while (width > 1) {
        width /= 2;
        for (i = 0; i < width; ++i) {
            lanes[i] += lanes[i + width];
        }
    }
    return lanes[0];
}

static inline float model_dot(const float *a, const float *b, size_t n) {
    float lanes[32];
    size_t i, l;
    for (l = 0; l < 32; ++l) {
        lanes[l] = 0.0f;
    }
    for (i = 0; i + 32 <= n; i += 32) {
        for (l = 0; l < 32; ++l) {
            lanes[l] += a[i + l] * b[i + l];
        }
    }
    for (l = 0; i + l < n; ++l) {
        lanes[l] += a[i + l] * b[i + l];
    }
    return model_fold(lanes, 32);
}

/* RMSNorm or LayerNorm of x [n] into out, which may be x. */
static inline void model_normalize(const float *x, const model_norm *norm, float *out, size_t n) {
    float mean = 0.0f, r;
    size_t i;
    if (norm->bias != NULL) {
        float lanes[32];
        for (i = 0; i < 32; ++i) {
            lanes[i] = 0.0f;
        }
        for (i = 0; i < n; ++i) {
            lanes[i % 32] += x[i];
        }
        mean = model_fold(lanes, 32) / (float)n;
    }
    for (i = 0; i < n; ++i) {
        out[i] = x[i] - mean;
    }
    r = 1.0f / sqrtf(model_dot(out, out, n) / (float)n + MODEL_NORM_EPS);
    for (i = 0; i < n; ++i) {
        out[i] = out[i] * r * norm->weight[i];
    }
    if (norm->bias != NULL) {
        for (i = 0; i < n; ++i) {
            out[i] += norm->bias[i];
        }
    }
}

static inline float model_tanh(float x) {
    const float size = x < 0.0f ? -x : x;
    const float e = model_exp(-2.0f * size);
    /* Below 1e-2 the quotient cancels. */
    const float t = size < 1e-2f ? size - size * size * size * (1.0f / 3.0f) : (1.0f - e) / (1.0f + e);
    return x < 0.0f ? -t : t;
}

/* x = cap * tanh(x / cap); a cap of 0 is none. */
static inline void model_softcap(float *x, size_t n, float cap) {
    size_t i;
    if (cap > 0.0f) {
        for (i = 0; i < n; ++i) {
            x[i] = cap * model_tanh(x[i] / cap);
        }
    }
}
