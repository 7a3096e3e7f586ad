// binary16 weights, row-major, rows padded to 32 columns; unpacked by arithmetic, so that
// `shader-f16` is not needed.
#import "lib/weights/shape.wgsl"

@group(0) @binding(1) var<storage, read> weights: array<vec2<u32>>; // (WEIGHT_ROWS, WORDS) of 4 columns

override WORDS: u32 = (IN_DIM + 31u) / 32u * 8u;

const GROUPED: bool = false;

fn weight_scale(row: u32, col: u32) -> f32 {
  return 1.0;
}

// Four weights from column 4·word on.
fn weight_quad(row: u32, word: u32) -> vec4<f32> {
  let packed = weights[row * WORDS + word];
  return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}
