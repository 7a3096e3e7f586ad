/* ---- Self-attention ---- */

/* Norm (of `channels` values each) and rotation of the queries or keys of all heads. */
static inline void model_heads(model_state *s, const model_layer *layer, float *x, size_t n, const model_norm *norm, size_t channels) {
    size_t i;
    if (norm->weight != NULL) {
        for (i = 0; i < n; i += channels) {
            model_normalize(x + i, norm, x + i, channels);
        }
    }
    if (layer->rotation != 0) {
        for (i = 0; i < n; i += MODEL_HEAD_DIM) {
            model_rotate(s, x + i, layer->rotation - 1);
        }
    }
}

/* One query head over the keys and values of `seen` tokens, which begin at these. */
static inline void model_head(model_state *s, const float *q, const model_cache *keys, const model_cache *values, size_t seen, float *out) {
    float largest, total, lanes[32];
    size_t t, i;
    for (t = 0; t < seen; ++t) {
        s->scores[t] = model_dot(q, model_cache_read(keys + t * MODEL_KV_DIM, s->line), MODEL_HEAD_DIM) * MODEL_ATTENTION_SCALE;
    }
    model_softcap(s->scores, seen, MODEL_ATTENTION_CAP);
    largest = s->scores[0];
    for (t = 1; t < seen; ++t) {
        largest = s->scores[t] > largest ? s->scores[t] : largest;
    }
    for (i = 0; i < MODEL_HEAD_DIM; ++i) {
        out[i] = 0.0f;
    }
    /* The engine adds weights up in 32 interleaved sums. */
    for (i = 0; i < 32; ++i) {
        lanes[i] = 0.0f;
    }
    for (t = 0; t < seen; ++t) {
        const float *value = model_cache_read(values + t * MODEL_KV_DIM, s->line);
        const float weight = model_exp(s->scores[t] - largest);
        lanes[t % 32] += weight;
        for (i = 0; i < MODEL_HEAD_DIM; ++i) {
            out[i] += weight * value[i];
        }
    }
    total = 1.0f / model_fold(lanes, 32);
    for (i = 0; i < MODEL_HEAD_DIM; ++i) {
        out[i] *= total;
    }
}

/* From the residual stream to branch. */
static inline void model_attention(model_state *s, const model_layer *layer, size_t index) {
    float *q = s->work, *k = q + MODEL_Q_DIM, *v = k + MODEL_KV_DIM;
    model_cache *keys = s->keys + index * MODEL_CONTEXT * MODEL_KV_DIM;
    model_cache *values = s->values + index * MODEL_CONTEXT * MODEL_KV_DIM;
    const size_t all = s->used + 1;
    const size_t seen = layer->window != 0 && layer->window < all ? layer->window : all;
    const size_t first = (all - seen) * MODEL_KV_DIM;
    size_t h;
    model_prepare(&s->input, s->x, &layer->input_norm, MODEL_HIDDEN);
    model_multiply(&layer->q, &s->input, q);
    model_multiply(&layer->k, &s->input, k);
    model_multiply(&layer->v, &s->input, v);
    model_heads(s, layer, q, MODEL_Q_DIM, &layer->q_norm, MODEL_Q_NORM_DIM);
    model_heads(s, layer, k, MODEL_KV_DIM, &layer->k_norm, MODEL_K_NORM_DIM);
    model_cache_write(keys + s->used * MODEL_KV_DIM, k, MODEL_KV_DIM);
    model_cache_write(values + s->used * MODEL_KV_DIM, v, MODEL_KV_DIM);
    for (h = 0; h < MODEL_HEADS; ++h) {
        const size_t at = first + h / (MODEL_HEADS / MODEL_KV_HEADS) * MODEL_HEAD_DIM;
        model_head(s, q + h * MODEL_HEAD_DIM, keys + at, values + at, seen, s->branch + h * MODEL_HEAD_DIM);
    }
    model_prepare(&s->input, s->branch, &layer->attention_sub_norm, MODEL_Q_DIM);
    model_multiply(&layer->o, &s->input, s->branch);
    if (layer->attention_output_norm.weight != NULL) {
        model_normalize(s->branch, &layer->attention_output_norm, s->branch, MODEL_HIDDEN);
    }
}
