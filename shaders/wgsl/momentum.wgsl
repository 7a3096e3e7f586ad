// Muon's momentum (Jordan et al. 2024), LEN elements: with g the clipped gradient and μ the run's
// momentum, m = μm + (1 − μ)g, out = μm + (1 − μ)g, and the gradient becomes 0. Where Σ norms is
// not finite, out is 0 and m stays. Every workgroup adds up the norms, then strides over the
// elements.
#import "lib/clipping.wgsl"

@group(0) @binding(2) var<storage, read_write> grad: array<f32>; // (LEN)
@group(0) @binding(3) var<storage, read_write> m: array<f32>;    // (LEN)
@group(0) @binding(4) var<storage, read_write> out: array<f32>;  // (LEN)

override LEN: u32;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let clip = clipping(lane);
  let mu = run_params.momentum;
  for (var i = workgroup.x * REDUCE_LANES + lane; i < LEN; i += grid.x * REDUCE_LANES) {
    var ahead = 0.0;
    if (clip.finite) {
      let fresh = (1.0 - mu) * (grad[i] * clip.factor);
      let mean = mu * m[i] + fresh;
      m[i] = mean;
      ahead = mu * mean + fresh;
    }
    out[i] = ahead;
    grad[i] = 0.0;
  }
}
