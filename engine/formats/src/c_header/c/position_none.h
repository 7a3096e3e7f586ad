/* ---- No positions: no layer rotates ---- */

static inline void model_set_position(model_state *s) {
    (void)s;
}

static inline void model_rotate(const model_state *s, float *head, size_t rotation) {
    (void)s;
    (void)head;
    (void)rotation;
}
