// x[r] += bias for every row of x (ROWS, DIM). One invocation per element.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(1) var<storage, read> bias: array<f32>;    // (DIM)
@group(0) @binding(2) var<storage, read_write> x: array<f32>; // (ROWS, DIM)

override DIM: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  if (i < active_rows() * DIM) {
    x[i] += bias[i % DIM];
  }
}
