/* ---- The decoder ---- */

static inline void model_add_branch(model_state *s) {
    size_t i;
    for (i = 0; i < MODEL_HIDDEN; ++i) {
        s->x[i] += MODEL_RESIDUAL_SCALE * s->branch[i];
    }
}

static inline void model_embed(model_state *s, uint32_t id) {
    const model_matrix *w = &model_embedding;
    const size_t row_bytes = (size_t)w->cols / w->span * w->span_bytes;
    const uint8_t *row = (const uint8_t *)w->data + id * row_bytes;
    w->expand(row, w->scales[id * w->scale_step], s->x, w->cols);
}

/* Appends tokens to the text; s->logits then tells what may follow. Nothing is changed on an error. */
static inline int model_feed(model_state *s, const uint32_t *ids, size_t count) {
    size_t i, layer;
    if (count > MODEL_CONTEXT - s->used) {
        return MODEL_ERROR_CONTEXT;
    }
    for (i = 0; i < count; ++i) {
        if (ids[i] >= MODEL_VOCAB) {
            return MODEL_ERROR_TOKEN;
        }
    }
    if (count == 0) {
        return MODEL_ERROR_TOKEN;
    }
    for (i = 0; i < count; ++i) {
        model_embed(s, ids[i]);
        model_set_position(s);
        for (layer = 0; layer < MODEL_LAYERS; ++layer) {
            model_attention(s, &model_layers[layer], layer);
            model_add_branch(s);
            model_mlp(s, &model_layers[layer]);
            model_add_branch(s);
        }
        ++s->used;
    }
    model_prepare(&s->input, s->x, model_final_norm, MODEL_HIDDEN);
    model_head_matrix.multiply(&model_head_matrix, &s->input, s->logits);
    return MODEL_OK;
}
