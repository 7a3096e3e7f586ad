// out = SCALE · Σ parts over the first axis, in order; with ACCUMULATE added to what is there. One
// invocation per element.
#import "lib/grid.wgsl"

@group(0) @binding(0) var<storage, read> parts: array<f32>;     // (PARTS, LEN)
@group(0) @binding(1) var<storage, read_write> out: array<f32>; // (LEN)

override PARTS: u32;
override LEN: u32;
override SCALE: f32;
override ACCUMULATE: bool;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  if (i >= LEN) {
    return;
  }
  var sum = 0.0;
  for (var p = 0u; p < PARTS; p++) {
    sum += parts[p * LEN + i];
  }
  if (ACCUMULATE) {
    out[i] += SCALE * sum;
  } else {
    out[i] = SCALE * sum;
  }
}
