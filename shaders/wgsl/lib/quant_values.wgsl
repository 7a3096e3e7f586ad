// Per-token absmax int8: scale = max(max|x|, 1e-5) / 127, code = round_half_even(x / scale). With
// NORM, x is first RMS-normalized: x / sqrt(mean(x²) + EPS) · norm_weight. The operation supplies x
// as `value(i)`, which is asked for each value three times, DIM and INVOCATIONS.
#import "lib/row_norm.wgsl"

override NORM: bool;

fn norm_factor(base: u32, lane: u32) -> f32 {
  if (NORM) {
    return row_factor(base, lane);
  }
  return 1.0;
}

fn normalized(base: u32, i: u32, factor: f32) -> f32 {
  if (NORM) {
    return value(base + i) * factor * norm_weight[i];
  }
  return value(base + i);
}

fn code_scale(base: u32, lane: u32, factor: f32) -> f32 {
  for (var part = lane; part < REDUCE_LANES; part += INVOCATIONS) {
    var largest = 0.0;
    for (var i = part; i < DIM; i += REDUCE_LANES) {
      largest = max(largest, abs(normalized(base, i, factor)));
    }
    reduce_lanes[part] = largest;
  }
  return max(join_max(lane), 1e-5) / 127.0;
}

// Zero past the end of the row.
fn code(base: u32, i: u32, factor: f32, scale: f32) -> u32 {
  if (i >= DIM) {
    return 0u;
  }
  let rounded = clamp(round(normalized(base, i, factor) / scale), -127.0, 127.0);
  return u32(i32(rounded)) & 0xffu;
}

// The codes of columns i .. i + 3.
fn code_word(base: u32, i: u32, factor: f32, scale: f32) -> u32 {
  return code(base, i, factor, scale)
    | (code(base, i + 1u, factor, scale) << 8u)
    | (code(base, i + 2u, factor, scale) << 16u)
    | (code(base, i + 3u, factor, scale) << 24u);
}
