/* ---- MLP with a gate ---- */

static inline void model_mlp(model_state *s, const model_layer *layer) {
    float *gate = s->work, *up = gate + MODEL_INTERMEDIATE;
    size_t i;
    model_prepare(&s->input, s->x, &layer->mlp_norm, MODEL_HIDDEN);
    model_multiply(&layer->gate, &s->input, gate);
    model_multiply(&layer->up, &s->input, up);
    for (i = 0; i < MODEL_INTERMEDIATE; ++i) {
        gate[i] = model_activate(gate[i]) * up[i];
    }
    model_prepare(&s->input, gate, &layer->mlp_sub_norm, MODEL_INTERMEDIATE);
    model_multiply(&layer->down, &s->input, s->branch);
    if (layer->mlp_output_norm.weight != NULL) {
        model_normalize(s->branch, &layer->mlp_output_norm, s->branch, MODEL_HIDDEN);
    }
}
