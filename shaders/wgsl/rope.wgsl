// Rotary positions in place on x (ROWS, HEADS·HEAD_DIM). One invocation per pair of elements.
#import "lib/places.wgsl"
#import "lib/rope.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(2) var<storage, read_write> x: array<f32>; // (ROWS, HEADS, HEAD_DIM)

override HEADS: u32;
override SEQ: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let half = ROTARY / 2u;
  let item = flat_workgroup(workgroup, grid) * 64u + lane;
  let r = item / (HEADS * half);
  if (r >= active_rows()) {
    return;
  }
  let i = item % half;
  let at = item / half * HEAD_DIM + i;
  let turned = rotate(vec2<f32>(x[at], x[at + half]), row_position(r, SEQ), i);
  x[at] = turned.x;
  x[at + half] = turned.y;
}
