/* ---- Choosing a token ---- */

/* The largest logit's, the first of equal ones. */
static inline uint32_t model_greedy(const model_state *s) {
    uint32_t best = 0, i;
    for (i = 1; i < MODEL_VOCAB; ++i) {
        if (s->logits[i] > s->logits[best]) {
            best = i;
        }
    }
    return best;
}

/* Draws from softmax(logits / temperature), greedy at 0; the logits are used up. The same seed gives the same text. */
static inline uint32_t model_sample(model_state *s, float temperature) {
    const uint32_t best = model_greedy(s);
    const float largest = s->logits[best];
    float total = 0.0f, draw;
    uint32_t i;
    if (!(temperature > 0.0f)) {
        return best;
    }
    for (i = 0; i < MODEL_VOCAB; ++i) {
        s->logits[i] = model_exp((s->logits[i] - largest) / temperature);
        total += s->logits[i];
    }
    s->random += UINT64_C(0x9e3779b97f4a7c15); /* SplitMix64 */
    draw = (float)(uint32_t)(model_mix(s->random) >> 40) / 16777216.0f * total;
    for (i = 0; i < MODEL_VOCAB; ++i) {
        draw -= s->logits[i];
        if (draw < 0.0f) {
            return i;
        }
    }
    return best;
}
