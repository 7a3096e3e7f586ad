/* ---- MLP with a gate ---- */

static inline void model_mlp(model_state *s, const model_layer *layer) {
    float *gate = s->work, *up = gate + MODEL_INTERMEDIATE;
    size_t i;
    model_prepare(&s->input, s->x, layer->mlp_norm, MODEL_HIDDEN);
    layer->gate.multiply(&layer->gate, &s->input, gate);
    layer->up.multiply(&layer->up, &s->input, up);
    for (i = 0; i < MODEL_INTERMEDIATE; ++i) {
        gate[i] = model_activate(gate[i]) * up[i];
    }
    model_prepare(&s->input, gate, layer->mlp_sub_norm, MODEL_INTERMEDIATE);
    layer->down.multiply(&layer->down, &s->input, s->branch);
}
