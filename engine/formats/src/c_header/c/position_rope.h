/* ---- Rotary positions ---- */

static inline void model_set_position(model_state *s) {
    size_t r, j;
    for (r = 0; r < MODEL_ROTATIONS; ++r) {
        const double *frequencies = model_frequencies + r * (MODEL_ROTARY / 2);
        float *c = s->rotation + r * MODEL_ROTARY, *d = c + MODEL_ROTARY / 2;
        for (j = 0; j < MODEL_ROTARY / 2; ++j) {
            const double angle = (double)s->used * frequencies[j];
            c[j] = (float)(model_rotation_factors[r] * cos(angle));
            d[j] = (float)(model_rotation_factors[r] * sin(angle));
        }
    }
}

/* Element j of a head turns with element j + MODEL_ROTARY / 2; those behind stay. */
static inline void model_rotate(const model_state *s, float *head, size_t rotation) {
    const float *c = s->rotation + rotation * MODEL_ROTARY, *d = c + MODEL_ROTARY / 2;
    float *high = head + MODEL_ROTARY / 2;
    size_t j;
    for (j = 0; j < MODEL_ROTARY / 2; ++j) {
        const float a = head[j], b = high[j];
        head[j] = a * c[j] - b * d[j];
        high[j] = b * c[j] + a * d[j];
    }
}
