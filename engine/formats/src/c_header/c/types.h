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
    const float *bias;   /* added to the product; null if there is none */
    void (*multiply)(const model_matrix *w, model_input *in, float *out);
    int32_t (*sum)(const uint8_t *codes, const int16_t *x, size_t n, int32_t total);
    void (*expand)(const void *span, float scale, float *out, size_t n);
};

/* Without a weight it is one that the model does not have; a bias makes it a LayerNorm. */
typedef struct {
    const float *weight;
    const float *bias;
} model_norm;

typedef struct {
    model_norm input_norm, q_norm, k_norm, attention_sub_norm, attention_output_norm;
    model_norm mlp_norm, mlp_sub_norm, mlp_output_norm;
    model_matrix q, k, v, o, gate, up, down;
    uint32_t window;   /* tokens that a token attends to, itself included; 0: all before it */
    uint32_t rotation; /* which of the rotations turns queries and keys, from 1; 0: none */
} model_layer;
