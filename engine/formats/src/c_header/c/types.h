/* ---- Types ---- */

/* The input of a matrix: normalised, and where matrices take it so as int8 codes (kept in 16 bits, which multiply faster). */
typedef struct {
    float *values;
    int16_t *codes;
    float scale;
    int32_t *totals; /* sum of the codes under each scale of a row */
    float *line;     /* a row's weights, for products of floats */
} model_input;

typedef struct model_matrix model_matrix;

/* A matrix [rows, cols] in flash: rows one after another, each a sequence of spans of columns that share a scale. */
struct model_matrix {
    const void *data;
    const float *scales;
    uint32_t rows;
    uint32_t cols;
    uint32_t span;       /* columns */
    uint32_t span_bytes;
    uint32_t scale_step; /* 0: one scale for the matrix */
    void (*multiply)(const model_matrix *w, model_input *in, float *out);
    int32_t (*sum)(const uint8_t *codes, const int16_t *x, size_t n, int32_t total);
    void (*expand)(const void *span, float scale, float *out, size_t n);
};

/* A null norm is one that the model does not have. */
typedef struct {
    const float *input_norm;
    const float *q_norm;
    const float *k_norm;
    const float *attention_sub_norm;
    const float *mlp_norm;
    const float *mlp_sub_norm;
    model_matrix q, k, v, o, gate, up, down;
} model_layer;
