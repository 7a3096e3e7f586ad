// Matrix times one vector. A workgroup computes 16 weight rows, 16 lanes to every four of them;
// each lane holds four sums, so an activation loaded once meets four weights. Then one invocation
// per row adds up the lanes' sums.
#import "lib/linear.wgsl"

const GEMV_ROWS: u32 = 16u;
const GEMV_LANES: u32 = 16u;
// One word more than the lanes: rows lie in different banks.
const LANE_STRIDE: u32 = 17u;

var<workgroup> lane_sums: array<i32, 272>; // (GEMV_ROWS, LANE_STRIDE): integers, or the bits of floats

// Keep the sums of lane `local.x` for its four rows.
fn put_sums(local: vec3<u32>, bits: vec4<i32>) {
  let at = 4u * local.y * LANE_STRIDE + local.x;
  lane_sums[at] = bits.x;
  lane_sums[at + LANE_STRIDE] = bits.y;
  lane_sums[at + 2u * LANE_STRIDE] = bits.z;
  lane_sums[at + 3u * LANE_STRIDE] = bits.w;
}

fn exact_sum(row: u32) -> i32 {
  var sum = 0;
  for (var i = 0u; i < GEMV_LANES; i++) {
    sum += lane_sums[row * LANE_STRIDE + i];
  }
  return sum;
}

fn float_sum(row: u32) -> f32 {
  var sum = 0.0;
  for (var i = 0u; i < GEMV_LANES; i++) {
    sum += bitcast<f32>(lane_sums[row * LANE_STRIDE + i]);
  }
  return sum;
}

// Scales of four rows from `row` on at column `col`.
fn scales4(row: u32, col: u32) -> vec4<f32> {
  let first = FIRST_ROW + row;
  return vec4<f32>(weight_scale(first, col), weight_scale(first + 1u, col), weight_scale(first + 2u, col), weight_scale(first + 3u, col));
}
