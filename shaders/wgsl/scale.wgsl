// out = SCALE · x (LEN), or with ACCUMULATE out += SCALE · x. One invocation per element.
#import "lib/grid.wgsl"

@group(0) @binding(0) var<storage, read> x: array<f32>;         // (LEN)
@group(0) @binding(1) var<storage, read_write> out: array<f32>; // (LEN)

override LEN: u32;
override SCALE: f32;
override ACCUMULATE: bool;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  if (i >= LEN) {
    return;
  }
  if (ACCUMULATE) {
    out[i] += SCALE * x[i];
  } else {
    out[i] = SCALE * x[i];
  }
}
