// Sums of x, or with SQUARED of x², over stretches of it to `out`. One workgroup per stretch,
// always in the same order. The operation says with `stretch` where the i-th begins and ends, and
// where its sum goes.
#import "lib/grid.wgsl"
#import "lib/reduce.wgsl"

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

const REDUCE_LANES: u32 = 256u;

override SQUARED: bool;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let own = stretch(flat_workgroup(workgroup, grid));
  var sum = 0.0;
  for (var i = own.x + lane; i < own.y; i += REDUCE_LANES) {
    let value = x[i];
    sum += select(value, value * value, SQUARED);
  }
  let total = reduce_sum(lane, sum);
  if (lane == 0u) {
    out[own.z] = total;
  }
}
