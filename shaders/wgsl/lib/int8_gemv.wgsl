// y = x_scale · Σ_group scale · Σ code·x for one token row: integer sums, exact. The weight mode
// supplies `accumulate`.
#import "lib/gemv.wgsl"
#import "lib/int8_input.wgsl"

// Four weight rows: integers when a row has one scale, floats already scaled when it has several.
struct Sums {
  exact: vec4<i32>,
  scaled: vec4<f32>,
}

// Add the products of four rows with activations from column `col` on.
fn add(sums: Sums, products: vec4<i32>, row: u32, col: u32) -> Sums {
  if (GROUPED) {
    return Sums(sums.exact, sums.scaled + vec4<f32>(products) * scales4(row, col));
  }
  return Sums(sums.exact + products, sums.scaled);
}

@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  if (active_rows() == 0u) {
    return;
  }
  let first = flat_workgroup(workgroup, grid) * GEMV_ROWS;
  let sums = accumulate(first + 4u * local.y, local.x);
  if (GROUPED) {
    put_sums(local, bitcast<vec4<i32>>(sums.scaled));
  } else {
    put_sums(local, sums.exact);
  }
  workgroupBarrier();
  if (lane < GEMV_ROWS) {
    let row = first + lane;
    var y: f32;
    if (GROUPED) {
      y = float_sum(lane);
    } else {
      y = f32(exact_sum(lane)) * weight_scale(FIRST_ROW + row, 0u);
    }
    store(0u, row, y * row_scales[0]);
  }
}
