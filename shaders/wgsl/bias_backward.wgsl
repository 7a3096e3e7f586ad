// Gradient of a bias: dbias += Σ_rows dy (ROWS, DIM), rows in order. One invocation per column.
#import "lib/grid.wgsl"

@group(0) @binding(0) var<storage, read> dy: array<f32>;          // (ROWS, DIM)
@group(0) @binding(1) var<storage, read_write> dbias: array<f32>; // (DIM)

override ROWS: u32;
override DIM: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  if (i >= DIM) {
    return;
  }
  var sum = dbias[i];
  for (var at = i; at < ROWS * DIM; at += DIM) {
    sum += dy[at];
  }
  dbias[i] = sum;
}
