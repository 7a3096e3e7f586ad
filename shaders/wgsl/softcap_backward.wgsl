// Backward of a soft cap in place: dout ·= 1 − tanh²(x / SOFTCAP), both (LEN). One invocation per
// element.
#import "lib/grid.wgsl"
#import "lib/softcap.wgsl"

@group(0) @binding(0) var<storage, read> x: array<f32>;          // (LEN)
@group(0) @binding(1) var<storage, read_write> dout: array<f32>; // (LEN)

override LEN: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  if (i < LEN) {
    let t = bounded_tanh(x[i] / SOFTCAP);
    dout[i] *= 1.0 - t * t;
  }
}
