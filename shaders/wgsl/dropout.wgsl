// Inverted dropout in place on x (LEN), see program/dropout.rs: an element whose hash is below
// THRESHOLD becomes 0, the others are multiplied by SCALE. One invocation per element.
#import "lib/run_params.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(1) var<storage, read_write> x: array<f32>; // (LEN)

override LEN: u32;
override STREAM: u32;
override THRESHOLD: u32;
override SCALE: f32;

// Bijective 32-bit hash "lowbias32" (Wellons 2018).
fn hash(value: u32) -> u32 {
  var h = (value ^ (value >> 16u)) * 0x7feb352du;
  h = (h ^ (h >> 15u)) * 0x846ca68bu;
  return h ^ (h >> 16u);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  if (i >= LEN) {
    return;
  }
  let key = hash(run_params.seed ^ hash(STREAM + 0x9e3779b9u));
  x[i] = select(0.0, x[i] * SCALE, hash(i + key) >= THRESHOLD);
}
