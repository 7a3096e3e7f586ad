// y = Σ_group scale · Σ w·x for a few rows of floats; a lane takes every 16th stretch of four
// columns. With NORM, every workgroup RMS-normalizes the rows for itself, as rms_norm.wgsl would
// have to the bit: x / sqrt(mean(x²) + EPS) · norm_weight.
#import "lib/float_input.wgsl"
#import "lib/row_norm.wgsl"

@group(0) @binding(4) var<storage, read> norm_weight: array<f32>; // (IN_DIM); not read without NORM

const FLOAT_SUMS: bool = true;
// Four weight rows each that a workgroup without subgroups computes.
const GROUP_QUADS: u32 = 4u;

override NORM: bool;
override DIM: u32 = IN_DIM;

var<workgroup> row_factors: array<f32, ROWS>;

fn value(i: u32) -> f32 {
  return x[i];
}

fn prepare(lane: u32) {
  if (!NORM) {
    return;
  }
  for (var r = 0u; r < active_rows(); r++) {
    let factor = row_factor(r * IN_DIM, lane);
    if (lane == 0u) {
      row_factors[r] = factor;
    }
  }
  workgroupBarrier();
}

// Past the end of a row it meets zeros.
fn norm_quad(word: u32) -> vec4<f32> {
  let col = 4u * word;
  let last = IN_DIM - 1u;
  return vec4<f32>(norm_weight[min(col, last)], norm_weight[min(col + 1u, last)], norm_weight[min(col + 2u, last)], norm_weight[min(col + 3u, last)]);
}

// Add the products of four columns of weights, four rows of them, with those of activation row r.
fn add(sum: vec4<i32>, w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32>, r: u32, word: u32, by: vec4<f32>) -> vec4<i32> {
  var x = input_quad(r, word);
  if (NORM) {
    x = x * row_factors[r] * norm_quad(word);
  }
  let products = vec4<f32>(dot(w0, x), dot(w1, x), dot(w2, x), dot(w3, x));
  return bitcast<vec4<i32>>(bitcast<vec4<f32>>(sum) + products * by);
}

fn accumulate(row: u32, lane: u32) -> Sums {
  var sums = Sums();
  for (var word = lane; word < WORDS; word += GEMV_LANES) {
    let w0 = weight_quad(row, word);
    let w1 = weight_quad(row + 1u, word);
    let w2 = weight_quad(row + 2u, word);
    let w3 = weight_quad(row + 3u, word);
    var by = vec4<f32>(1.0);
    if (GROUPED) {
      by = scales4(row, 4u * word);
    }
    sums.r0 = add(sums.r0, w0, w1, w2, w3, 0u, word, by);
    if (ROWS > 1u) { sums.r1 = add(sums.r1, w0, w1, w2, w3, 1u, word, by); }
    if (ROWS > 2u) { sums.r2 = add(sums.r2, w0, w1, w2, w3, 2u, word, by); }
    if (ROWS > 3u) { sums.r3 = add(sums.r3, w0, w1, w2, w3, 3u, word, by); }
    if (ROWS > 4u) { sums.r4 = add(sums.r4, w0, w1, w2, w3, 4u, word, by); }
    if (ROWS > 5u) { sums.r5 = add(sums.r5, w0, w1, w2, w3, 5u, word, by); }
    if (ROWS > 6u) { sums.r6 = add(sums.r6, w0, w1, w2, w3, 6u, word, by); }
    if (ROWS > 7u) { sums.r7 = add(sums.r7, w0, w1, w2, w3, 7u, word, by); }
  }
  return sums;
}

fn scaled(r: u32, row: u32, sum: i32) -> f32 {
  let value = bitcast<f32>(sum);
  if (GROUPED) {
    return value;
  }
  return value * weight_scale(FIRST_ROW + row, 0u);
}
