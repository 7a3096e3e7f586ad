// f32 weights, row-major, not padded.
#import "lib/weights/shape.wgsl"

@group(0) @binding(1) var<storage, read> weights: array<f32>; // (WEIGHT_ROWS, IN_DIM)

override WORDS: u32 = (IN_DIM + 3u) / 4u;

const GROUPED: bool = false;

fn weight_scale(row: u32, col: u32) -> f32 {
  return 1.0;
}

// Four weights from column 4·word on; past the end of a row they belong to the next, and meet no
// input but zeros.
fn weight_quad(row: u32, word: u32) -> vec4<f32> {
  let at = row * IN_DIM + 4u * word;
  return vec4<f32>(weights[at], weights[at + 1u], weights[at + 2u], weights[at + 3u]);
}
