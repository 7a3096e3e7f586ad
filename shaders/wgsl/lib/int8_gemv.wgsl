// y = x_scale · Σ_group scale · Σ code·x for one token row: integer sums, exact. A workgroup computes 16 weight rows, 16
// lanes to every four of them; each lane holds four sums, so an activation loaded once meets four weights.
// The weight mode supplies `accumulate`.
#import "lib/linear.wgsl"
#import "lib/int8_input.wgsl"

const GEMV_ROWS: u32 = 16u;
const GEMV_LANES: u32 = 16u;

// Four weight rows: integers when a row has one scale, floats already scaled when it has several.
struct Sums {
  exact: vec4<i32>,
  scaled: vec4<f32>,
}

var<workgroup> exact_lanes: array<vec4<i32>, 64>;
var<workgroup> scaled_lanes: array<vec4<f32>, 64>;

fn scales4(row: u32, col: u32) -> vec4<f32> {
  let first = FIRST_ROW + row;
  return vec4<f32>(weight_scale(first, col), weight_scale(first + 1u, col), weight_scale(first + 2u, col), weight_scale(first + 3u, col));
}

// Add the products of four rows with activations from column `col` on.
fn add(sums: Sums, products: vec4<i32>, row: u32, col: u32) -> Sums {
  if (GROUPED) {
    return Sums(sums.exact, sums.scaled + vec4<f32>(products) * scales4(row, col));
  }
  return Sums(sums.exact + products, sums.scaled);
}

@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  if (active_rows() == 0u) {
    return;
  }
  let row = flat_workgroup(workgroup, grid) * GEMV_ROWS + 4u * local.y;
  let sums = accumulate(row, local.x);
  let slot = local.y * GEMV_LANES + local.x;
  exact_lanes[slot] = sums.exact;
  scaled_lanes[slot] = sums.scaled;
  for (var distance = GEMV_LANES / 2u; distance > 0u; distance /= 2u) {
    workgroupBarrier();
    if (local.x < distance) {
      exact_lanes[slot] += exact_lanes[slot + distance];
      scaled_lanes[slot] += scaled_lanes[slot + distance];
    }
  }
  if (local.x == 0u) {
    var y = scaled_lanes[slot];
    if (!GROUPED) {
      y = vec4<f32>(exact_lanes[slot]) * scales4(row, 0u);
    }
    y *= row_scales[0];
    store(0u, row, y.x);
    store(0u, row + 1u, y.y);
    store(0u, row + 2u, y.z);
    store(0u, row + 3u, y.w);
  }
}
