// Sums of x, or with SQUARED of x², over stretches of STRETCH elements of x (LEN), to out[SLOT ..].
// One workgroup per stretch, always in the same order.
#import "lib/reduce.wgsl"

@group(0) @binding(0) var<storage, read> x: array<f32>;         // (LEN)
@group(0) @binding(1) var<storage, read_write> out: array<f32>; // one per stretch, from SLOT on

const REDUCE_LANES: u32 = 256u;

override LEN: u32;
override STRETCH: u32;
override SLOT: u32;
override SQUARED: bool;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let begin = workgroup.x * STRETCH;
  let end = min(begin + STRETCH, LEN);
  var sum = 0.0;
  for (var i = begin + lane; i < end; i += REDUCE_LANES) {
    let value = x[i];
    sum += select(value, value * value, SQUARED);
  }
  let total = reduce_sum(lane, sum);
  if (lane == 0u) {
    out[SLOT + workgroup.x] = total;
  }
}
