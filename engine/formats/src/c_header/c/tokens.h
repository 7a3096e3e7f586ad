/* ---- Text of tokens ---- */

/* The bytes of a token; a character may be spread over several tokens, and special tokens have no bytes. */
static inline const uint8_t *model_token(uint32_t id, size_t *length) {
    if (id >= MODEL_TOKENS) {
        *length = 0;
        return model_token_bytes;
    }
    *length = model_token_starts[id + 1] - model_token_starts[id];
    return model_token_bytes + model_token_starts[id];
}

/* Whether a token ends a text or a turn. */
static inline int model_is_end(uint32_t id) {
    size_t i;
    for (i = 0; i < MODEL_ENDS; ++i) {
        if (model_end_ids[i] == id) {
            return 1;
        }
    }
    return 0;
}
