// Straight-through gradient of a latent (LEN), in place: with s = run_params.float_share grad *=
// (1 − s)·STE + s (+ run_params.arenas with ARENAS), 0 where |latent| > CLAMP (0 = no clamp). One
// invocation per element.
#import "lib/run_params.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(1) var<storage, read> latent: array<f32>;     // (LEN)
@group(0) @binding(2) var<storage, read_write> grad: array<f32>; // (LEN)

override LEN: u32;
override STE: f32;
override CLAMP: f32;
override ARENAS: bool;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  if (i >= LEN) {
    return;
  }
  if (CLAMP > 0.0 && abs(latent[i]) > CLAMP) {
    grad[i] = 0.0;
  } else {
    grad[i] *= mix(STE, 1.0, run_params.float_share) + select(0.0, run_params.arenas, ARENAS);
  }
}
