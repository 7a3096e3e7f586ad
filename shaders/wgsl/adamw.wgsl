// AdamW (Loshchilov & Hutter 2019) on one parameter (LEN), then the gradient becomes 0. With g the
// gradient times min(1, CLIP_NORM / sqrt(Σ norms)) (CLIP_NORM 0 = off): m = β₁m + (1 − β₁)g, v =
// β₂v + (1 − β₂)g², param = param·(1 − lr·decay) − lr·m·bias1 / (sqrt(v·bias2) + EPS), then clipped
// to ± LATENT_CLIP (0 = off). Where Σ norms is not finite nothing but the gradient changes: the
// parameters stay those of the last good step. Every workgroup adds up the norms, then strides over
// the elements.
#import "lib/clipping.wgsl"

@group(0) @binding(2) var<storage, read_write> param: array<f32>; // (LEN)
@group(0) @binding(3) var<storage, read_write> grad: array<f32>;  // (LEN)
@group(0) @binding(4) var<storage, read_write> m: array<f32>;     // (LEN)
@group(0) @binding(5) var<storage, read_write> v: array<f32>;     // (LEN)

override LEN: u32;
override BETA1: f32;
override BETA2: f32;
override EPS: f32;
override DECAY: bool;
override LATENT_CLIP: f32;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let clip = clipping(lane);
  let keep = 1.0 - select(0.0, run_params.lr * run_params.weight_decay, DECAY);
  for (var i = workgroup.x * REDUCE_LANES + lane; i < LEN; i += grid.x * REDUCE_LANES) {
    if (clip.finite) {
      let g = grad[i] * clip.factor;
      let first = BETA1 * m[i] + (1.0 - BETA1) * g;
      let second = BETA2 * v[i] + (1.0 - BETA2) * g * g;
      m[i] = first;
      v[i] = second;
      var value = param[i] * keep - run_params.lr * (first * run_params.bias1) / (sqrt(second * run_params.bias2) + EPS);
      if (LATENT_CLIP > 0.0) {
        value = clamp(value, -LATENT_CLIP, LATENT_CLIP);
      }
      param[i] = value;
    }
    grad[i] = 0.0;
  }
}
