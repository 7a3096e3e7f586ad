/* ---- Learned positions ---- */

static inline void model_set_position(model_state *s) {
    const float *row = model_positions + s->used * MODEL_HIDDEN;
    size_t i;
    for (i = 0; i < MODEL_HIDDEN; ++i) {
        s->x[i] += row[i];
    }
}

static inline void model_rotate(const model_state *s, float *head, size_t rotation) {
    (void)s;
    (void)head;
    (void)rotation;
}
