// int8 activations with one scale per token row.
@group(0) @binding(3) var<storage, read> codes: array<vec4<u32>>; // (ROWS, CODE_STRIDE) of 16 columns, zeros past IN_DIM
@group(0) @binding(4) var<storage, read> row_scales: array<f32>;  // (ROWS)

override CODE_STRIDE: u32 = (IN_DIM + 255u) / 256u * 16u;
