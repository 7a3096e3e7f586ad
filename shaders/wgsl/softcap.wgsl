// out = SOFTCAP · tanh(x / SOFTCAP), both (ROWS, DIM). One invocation per element. IN_PLACE: x is
// `out`, and binding `x` is not read.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"
#import "lib/softcap.wgsl"

@group(0) @binding(1) var<storage, read> x: array<f32>;         // (ROWS, DIM)
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // (ROWS, DIM)

override DIM: u32;
override IN_PLACE: bool;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  if (i >= active_rows() * DIM) {
    return;
  }
  var value: f32;
  if (IN_PLACE) {
    value = out[i];
  } else {
    value = x[i];
  }
  out[i] = capped(value);
}
