// y = Σ_group scale · Σ w·x for one token row of floats; a lane takes every 16th stretch of four
// columns.
#import "lib/gemv.wgsl"
#import "lib/float_input.wgsl"

@compute @workgroup_size(16, 4)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  if (active_rows() == 0u) {
    return;
  }
  let first = flat_workgroup(workgroup, grid) * GEMV_ROWS;
  let row = first + 4u * local.y;
  var sums = vec4<f32>();
  for (var word = local.x; word < WORDS; word += GEMV_LANES) {
    let x = input_quad(0u, word);
    let products = vec4<f32>(
      dot(weight_quad(row, word), x),
      dot(weight_quad(row + 1u, word), x),
      dot(weight_quad(row + 2u, word), x),
      dot(weight_quad(row + 3u, word), x),
    );
    if (GROUPED) {
      sums += products * scales4(row, 4u * word);
    } else {
      sums += products;
    }
  }
  put_sums(local, bitcast<vec4<i32>>(sums));
  workgroupBarrier();
  if (lane < GEMV_ROWS) {
    var y = float_sum(lane);
    if (!GROUPED) {
      y *= weight_scale(FIRST_ROW + first + lane, 0u);
    }
    store(0u, first + lane, y);
  }
}
