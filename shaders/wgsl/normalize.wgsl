// x (LEN) over its norm, the root of squares[SLOT], which is never quite 0. Several that begin
// APART elements from each other have their squares 64 apart. One invocation per element.
#import "lib/grid.wgsl"

@group(0) @binding(0) var<storage, read> squares: array<f32>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>; // (LEN)

override SLOT: u32;
override LEN: u32;
override APART: u32 = LEN;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  if (i < LEN) {
    x[i] *= 1.0 / (sqrt(squares[SLOT + i / APART * 64u]) + 1e-7);
  }
}
