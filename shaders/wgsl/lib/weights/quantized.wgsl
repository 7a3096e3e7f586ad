// What the integer weight modes share: the binding of the codes and of the scales.
#import "lib/packed.wgsl"
#import "lib/weights/shape.wgsl"

@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // codes of WEIGHT_ROWS rows, see quant/tile.rs
@group(0) @binding(2) var<storage, read> scales: array<f32>;        // (OUT_DIM, SCALES)

// Columns that share a scale: a multiple of 32, or IN_DIM.
override GROUP: u32;
// Scales per row.
override SCALES: u32 = (IN_DIM + GROUP - 1u) / GROUP;
override GROUPED: bool = SCALES > 1u;

// Scale of column `col` in row `row` (of the whole matrix). Columns of the padding use the last
// one: their codes meet zeros.
fn weight_scale(row: u32, col: u32) -> f32 {
  return scales[row * SCALES + min(col / GROUP, SCALES - 1u)];
}

// Four codes from column 4·word on as floats.
fn weight_quad(row: u32, word: u32) -> vec4<f32> {
  return bytes_to_f32(weight_word(row, word));
}
