/* ---- MLP without a gate ---- */

static inline void model_mlp(model_state *s, const model_layer *layer) {
    float *up = s->work;
    size_t i;
    model_prepare(&s->input, s->x, layer->mlp_norm, MODEL_HIDDEN);
    layer->up.multiply(&layer->up, &s->input, up);
    for (i = 0; i < MODEL_INTERMEDIATE; ++i) {
        up[i] = model_activate(up[i]);
    }
    model_prepare(&s->input, up, layer->mlp_sub_norm, MODEL_INTERMEDIATE);
    layer->down.multiply(&layer->down, &s->input, s->branch);
}
