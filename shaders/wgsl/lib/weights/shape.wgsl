// Shape of a weight matrix. A matrix larger than a binding may be is bound in parts of whole rows:
// `weights` then holds rows FIRST_ROW .. FIRST_ROW + WEIGHT_ROWS of OUT_DIM. Rows given to
// `weight_word` and `weight_quad` count from FIRST_ROW.
override OUT_DIM: u32;
override IN_DIM: u32;
override FIRST_ROW: u32;
override WEIGHT_ROWS: u32;
