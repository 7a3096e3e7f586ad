// y = Σ_group scale · Σ w·x for one token row of floats. A workgroup computes four weight rows with all its lanes.
#import "lib/linear.wgsl"
#import "lib/float_input.wgsl"

const GEMV_ROWS: u32 = 4u;
const GEMV_LANES: u32 = 64u;

var<workgroup> lanes: array<vec4<f32>, GEMV_LANES>;

fn scales4(row: u32, col: u32) -> vec4<f32> {
  let first = FIRST_ROW + row;
  return vec4<f32>(weight_scale(first, col), weight_scale(first + 1u, col), weight_scale(first + 2u, col), weight_scale(first + 3u, col));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  if (active_rows() == 0u) {
    return;
  }
  let row = flat_workgroup(workgroup, grid) * GEMV_ROWS;
  var sums = vec4<f32>();
  for (var word = lane; word < WORDS; word += GEMV_LANES) {
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
  lanes[lane] = sums;
  for (var distance = GEMV_LANES / 2u; distance > 0u; distance /= 2u) {
    workgroupBarrier();
    if (lane < distance) {
      lanes[lane] += lanes[lane + distance];
    }
  }
  if (lane == 0u) {
    var y = lanes[0];
    if (!GROUPED) {
      y *= scales4(row, 0u);
    }
    store(0u, row, y.x);
    store(0u, row + 1u, y.y);
    store(0u, row + 2u, y.z);
    store(0u, row + 3u, y.w);
  }
}
