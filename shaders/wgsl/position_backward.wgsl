// Gradient of learned positions: dtable[r % SEQ] += dx[r], rows in order. One invocation per
// element of the first SEQ rows of the table.
#import "lib/grid.wgsl"

@group(0) @binding(0) var<storage, read> dx: array<f32>;           // (ROWS, DIM)
@group(0) @binding(1) var<storage, read_write> dtable: array<f32>; // (max_positions, DIM)

override ROWS: u32;
override SEQ: u32;
override DIM: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  if (i >= SEQ * DIM) {
    return;
  }
  var sum = dtable[i];
  for (var at = i; at < ROWS * DIM; at += SEQ * DIM) {
    sum += dx[at];
  }
  dtable[i] = sum;
}
