// Per-token absmax int8: scale = max(max|x|, 1e-5) / 127, code = round_half_even(x / scale), four
// codes to a word, zeros up to STRIDE columns. With NORM, x is first RMS-normalized: x /
// sqrt(mean(x²) + EPS) · weight. One workgroup per row. The operation supplies x as `value(i)`, i
// counting over (ROWS, DIM); it is asked for each value three times.
#import "lib/rows.wgsl"
#import "lib/rms.wgsl"

@group(0) @binding(1) var<storage, read> weight: array<f32>;           // (DIM); not read without NORM
@group(0) @binding(2) var<storage, read_write> codes: array<u32>;      // (ROWS, STRIDE / 4)
@group(0) @binding(3) var<storage, read_write> row_scales: array<f32>; // (ROWS)

const REDUCE_LANES: u32 = 256u;

override DIM: u32;
override STRIDE: u32;
override NORM: bool;

fn normalized(base: u32, i: u32, factor: f32) -> f32 {
  if (NORM) {
    return value(base + i) * factor * weight[i];
  }
  return value(base + i);
}

fn code(base: u32, i: u32, factor: f32, scale: f32) -> u32 {
  if (i >= DIM) {
    return 0u;
  }
  let rounded = clamp(round(normalized(base, i, factor) / scale), -127.0, 127.0);
  return u32(i32(rounded)) & 0xffu;
}

fn quantize_row(r: u32, lane: u32) {
  let base = r * DIM;
  var factor = 1.0;
  if (NORM) {
    var squares = 0.0;
    for (var i = lane; i < DIM; i += REDUCE_LANES) {
      let x = value(base + i);
      squares += x * x;
    }
    factor = rstd_of(lane, squares, DIM);
  }
  var largest = 0.0;
  for (var i = lane; i < DIM; i += REDUCE_LANES) {
    largest = max(largest, abs(normalized(base, i, factor)));
  }
  let scale = max(reduce_max(lane, largest), 1e-5) / 127.0;
  for (var word = lane; word < STRIDE / 4u; word += REDUCE_LANES) {
    let i = 4u * word;
    codes[r * (STRIDE / 4u) + word] = code(base, i, factor, scale)
      | (code(base, i + 1u, factor, scale) << 8u)
      | (code(base, i + 2u, factor, scale) << 16u)
      | (code(base, i + 3u, factor, scale) << 24u);
  }
  if (lane == 0u) {
    row_scales[r] = scale;
  }
}
