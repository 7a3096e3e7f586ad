// out[0] += Σ x over the valid rows of x (ROWS). One workgroup.
#import "lib/rows.wgsl"
#import "lib/reduce.wgsl"

@group(0) @binding(1) var<storage, read> x: array<f32>;         // (ROWS)
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // (1)

const REDUCE_LANES: u32 = 256u;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var i = lane; i < active_rows(); i += REDUCE_LANES) {
    sum += x[i];
  }
  let total = reduce_sum(lane, sum);
  if (lane == 0u) {
    out[0] += total;
  }
}
