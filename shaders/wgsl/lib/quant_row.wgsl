// Rows to int8 with a scale each, see lib/quant_values.wgsl: four codes to a word, zeros up to
// STRIDE columns. One workgroup per row. The operation supplies `value(i)`, i counting over (ROWS,
// DIM).
#import "lib/rows.wgsl"
#import "lib/quant_values.wgsl"

@group(0) @binding(1) var<storage, read> norm_weight: array<f32>;      // (DIM); not read without NORM
@group(0) @binding(2) var<storage, read_write> codes: array<u32>;      // (ROWS, STRIDE / 4)
@group(0) @binding(3) var<storage, read_write> row_scales: array<f32>; // (ROWS)

const INVOCATIONS: u32 = 256u;

override DIM: u32;
override STRIDE: u32;

fn quantize_row(r: u32, lane: u32) {
  let base = r * DIM;
  let factor = norm_factor(base, lane);
  let scale = code_scale(base, lane, factor);
  for (var word = lane; word < STRIDE / 4u; word += INVOCATIONS) {
    codes[r * (STRIDE / 4u) + word] = code_word(base, 4u * word, factor, scale);
  }
  if (lane == 0u) {
    row_scales[r] = scale;
  }
}
