/* ---- Rotary positions ---- */

static inline void model_set_position(model_state *s) {
    size_t j;
    for (j = 0; j < MODEL_HEAD_DIM / 2; ++j) {
        const double angle = (double)s->used * model_frequencies[j];
        s->rotation[j] = (float)cos(angle);
        s->rotation[MODEL_HEAD_DIM / 2 + j] = (float)sin(angle);
    }
}

/* Element j of a head turns with element j + MODEL_HEAD_DIM / 2. */
static inline void model_rotate(const model_state *s, float *head) {
    const float *c = s->rotation, *d = s->rotation + MODEL_HEAD_DIM / 2;
    float *high = head + MODEL_HEAD_DIM / 2;
    size_t j;
    for (j = 0; j < MODEL_HEAD_DIM / 2; ++j) {
        const float a = head[j], b = high[j];
        head[j] = a * c[j] - b * d[j];
        high[j] = b * c[j] + a * d[j];
    }
}
