/* ---- State ---- */

#define MODEL_OK 0
/* The buffer is smaller than MODEL_BUFFER_BYTES, or not aligned as a float is. */
#define MODEL_ERROR_BUFFER (-1)
/* The text and the new tokens are longer than MODEL_CONTEXT. */
#define MODEL_ERROR_CONTEXT (-2)
/* A token is not below MODEL_VOCAB, or there is none. */
#define MODEL_ERROR_TOKEN (-3)

typedef struct {
    size_t used;   /* tokens of the text so far */
    float *logits; /* [MODEL_VOCAB], after model_feed */
    float *x;      /* residual stream */
    float *branch; /* output of attention, and of a branch */
    float *beside; /* output of attention while the MLP runs, if both read the same */
    float *work;   /* query, key, value; then gate, up */
    float *scores;
    float *line;     /* a head's vector */
    float *rotation; /* cos, then sin, of the position's angles; for every rotation */
    model_input input;
    model_cache *keys; /* [MODEL_LAYERS, MODEL_CONTEXT, MODEL_KV_DIM] */
    model_cache *values;
    uint64_t random;
} model_state;

/* The next bytes of the buffer, in whole floats. */
static inline void *model_take(unsigned char **at, size_t bytes) {
    void *taken = *at;
    *at += (bytes + sizeof(float) - 1) / sizeof(float) * sizeof(float);
    return taken;
}

static inline void model_reset(model_state *s) {
    s->used = 0;
}

static inline uint64_t model_mix(uint64_t z) {
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline void model_seed(model_state *s, uint64_t seed) {
    s->random = model_mix(seed ^ UINT64_C(0x9e3779b97f4a7c15));
}

/* Lays the state out in the caller's buffer, which stays the caller's and must outlive the state. */
static inline int model_init(model_state *s, void *buffer, size_t bytes) {
    unsigned char *at = (unsigned char *)buffer;
    const size_t cache = (size_t)MODEL_LAYERS * MODEL_CONTEXT * MODEL_KV_DIM * sizeof(model_cache);
    if (buffer == NULL || bytes < MODEL_BUFFER_BYTES || (uintptr_t)buffer % sizeof(float) != 0) {
        return MODEL_ERROR_BUFFER;
    }
    s->logits = (float *)model_take(&at, MODEL_VOCAB * sizeof(float));
    s->x = (float *)model_take(&at, MODEL_HIDDEN * sizeof(float));
    s->branch = (float *)model_take(&at, MODEL_BRANCH * sizeof(float));
    s->beside = (float *)model_take(&at, MODEL_BESIDE * sizeof(float));
    s->work = (float *)model_take(&at, MODEL_WORK * sizeof(float));
    s->scores = (float *)model_take(&at, MODEL_CONTEXT * sizeof(float));
    s->line = (float *)model_take(&at, MODEL_HEAD_DIM * sizeof(float));
    s->rotation = (float *)model_take(&at, MODEL_ROTATIONS * MODEL_ROTARY * sizeof(float));
    s->input.values = (float *)model_take(&at, MODEL_WIDEST * sizeof(float));
    s->input.line = (float *)model_take(&at, MODEL_LINE * sizeof(float));
    s->input.codes = (int16_t *)model_take(&at, MODEL_CODES * sizeof(int16_t));
    s->input.totals = (int32_t *)model_take(&at, MODEL_SPANS * sizeof(int32_t));
    s->input.scale = 0.0f;
    s->keys = (model_cache *)model_take(&at, cache);
    s->values = (model_cache *)model_take(&at, cache);
    model_reset(s);
    model_seed(s, 0);
    return MODEL_OK;
}
