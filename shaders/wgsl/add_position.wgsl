// Learned positions: x[r] += table[position of r]. One invocation per element.
#import "lib/places.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(1) var<storage, read> positions: array<f32>; // (max_positions, DIM)
@group(0) @binding(2) var<storage, read_write> x: array<f32>;   // (ROWS, DIM)

override DIM: u32;
override SEQ: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  let r = i / DIM;
  if (r < active_rows()) {
    x[i] += positions[row_position(r, SEQ) * DIM + i % DIM];
  }
}
