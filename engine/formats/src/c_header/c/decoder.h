/* ---- The decoder ---- */

static inline void model_add_branch(model_state *s, const float *branch) {
    size_t i;
    for (i = 0; i < MODEL_HIDDEN; ++i) {
        s->x[i] += MODEL_RESIDUAL_SCALE * branch[i];
    }
}

static inline void model_run_layer(model_state *s, const model_layer *layer, size_t index) {
    size_t i;
    model_attention(s, layer, index);
    if (MODEL_PARALLEL) {
        for (i = 0; i < MODEL_HIDDEN; ++i) {
            s->beside[i] = s->branch[i];
        }
        model_mlp(s, layer);
        model_add_branch(s, s->beside);
    } else {
        model_add_branch(s, s->branch);
        model_mlp(s, layer);
    }
    model_add_branch(s, s->branch);
}

static inline void model_embed(model_state *s, uint32_t id) {
    const model_matrix *w = &model_embedding;
    const size_t spans = (size_t)w->cols / w->span;
    const uint8_t *row = (const uint8_t *)w->data + id * spans * w->span_bytes;
    const float *scale = w->scales + id * spans * w->scale_step;
    size_t i;
    for (i = 0; i < w->cols; i += w->span) {
        w->expand(row, *scale, s->x + i, w->span);
        row += w->span_bytes;
        scale += w->scale_step;
    }
    for (i = 0; i < MODEL_HIDDEN; ++i) {
        s->x[i] *= MODEL_EMBEDDING_SCALE;
    }
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
            model_run_layer(s, &model_layers[layer], layer);
        }
        ++s->used;
    }
    model_prepare(&s->input, s->x, &model_final_norm, MODEL_HIDDEN);
    model_multiply(&model_head_matrix, &s->input, s->logits);
    model_softcap(s->logits, MODEL_VOCAB, MODEL_LOGIT_CAP);
    return MODEL_OK;
}
