/* ---- Self-attention ---- */

/* RMSNorm and rotation of every head. */
static inline void model_heads(model_state *s, float *x, size_t heads, const float *norm) {
    size_t h;
    for (h = 0; h < heads; ++h, x += MODEL_HEAD_DIM) {
        if (norm != NULL) {
            model_rms_norm(x, norm, x, MODEL_HEAD_DIM);
        }
        model_rotate(s, x);
    }
}

/* One query head over the keys and values of the text so far. */
static inline void model_head(model_state *s, const float *q, const model_cache *keys, const model_cache *values, float *out) {
    const float scale = 1.0f / sqrtf((float)MODEL_HEAD_DIM);
    float largest, total, lanes[32];
    size_t t, i;
    for (t = 0; t <= s->used; ++t) {
        s->scores[t] = model_dot(q, model_cache_read(keys + t * MODEL_KV_DIM, s->line), MODEL_HEAD_DIM) * scale;
    }
    largest = s->scores[0];
    for (t = 1; t <= s->used; ++t) {
        largest = s->scores[t] > largest ? s->scores[t] : largest;
    }
    for (i = 0; i < MODEL_HEAD_DIM; ++i) {
        out[i] = 0.0f;
    }
    /* The engine adds weights up in 32 interleaved sums. */
    for (i = 0; i < 32; ++i) {
        lanes[i] = 0.0f;
    }
    for (t = 0; t <= s->used; ++t) {
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
    size_t h;
    model_prepare(&s->input, s->x, layer->input_norm, MODEL_HIDDEN);
    layer->q.multiply(&layer->q, &s->input, q);
    layer->k.multiply(&layer->k, &s->input, k);
    layer->v.multiply(&layer->v, &s->input, v);
    model_heads(s, q, MODEL_HEADS, layer->q_norm);
    model_heads(s, k, MODEL_KV_HEADS, layer->k_norm);
    model_cache_write(keys + s->used * MODEL_KV_DIM, k, MODEL_KV_DIM);
    model_cache_write(values + s->used * MODEL_KV_DIM, v, MODEL_KV_DIM);
    for (h = 0; h < MODEL_HEADS; ++h) {
        const size_t shared = h / (MODEL_HEADS / MODEL_KV_HEADS) * MODEL_HEAD_DIM;
        model_head(s, q + h * MODEL_HEAD_DIM, keys + shared, values + shared, s->branch + h * MODEL_HEAD_DIM);
    }
    model_prepare(&s->input, s->branch, layer->attention_sub_norm, MODEL_Q_DIM);
    layer->o.multiply(&layer->o, &s->input, s->branch);
}
