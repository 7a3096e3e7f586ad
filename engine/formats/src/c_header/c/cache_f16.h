/* ---- KV cache in binary16 ---- */

typedef uint16_t model_cache;

/* Half to even; beyond the range of binary16 its largest value. */
static inline uint16_t model_to_half(float v) {
    const uint32_t sign = model_to_bits(v) >> 16 & 0x8000u;
    const float size = v < 0.0f ? -v : v;
    const float kept = size < 65504.0f ? size : 65504.0f;
    const uint32_t bits = model_to_bits(kept);
    if (bits < 0x38800000u) {
        /* Below its normal numbers: the unit in the last place of 0.5 is its smallest step, so the addition rounds. */
        return (uint16_t)(sign | (model_to_bits(kept + 0.5f) - model_to_bits(0.5f)));
    }
    return (uint16_t)(sign | (bits - (112u << 23) + 0xfffu + (bits >> 13 & 1u)) >> 13);
}

static inline void model_cache_write(model_cache *at, const float *values, size_t n) {
    size_t i;
    for (i = 0; i < n; ++i) {
        at[i] = model_to_half(values[i]);
    }
}

/* A head's key or value; line is room to widen it in. */
static inline const float *model_cache_read(const model_cache *at, float *line) {
    size_t i;
    for (i = 0; i < MODEL_HEAD_DIM; ++i) {
        line[i] = model_half(at[i]);
    }
    return line;
}
