// param = param·(1 − RATE·lr·decay) − RATE·SCALE·lr·step (LEN), then clipped to ± LATENT_CLIP (0 =
// off); nothing where Σ norms is not finite. Every workgroup adds up the norms, then strides over
// the elements.
#import "lib/clipping.wgsl"

@group(0) @binding(2) var<storage, read_write> param: array<f32>; // (LEN)
@group(0) @binding(3) var<storage, read> step: array<f32>;        // (LEN)

override LEN: u32;
override RATE: f32;
override SCALE: f32;
override LATENT_CLIP: f32;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let clip = clipping(lane);
  if (!clip.finite) {
    return;
  }
  let lr = RATE * run_params.lr;
  let keep = 1.0 - lr * run_params.weight_decay;
  for (var i = workgroup.x * REDUCE_LANES + lane; i < LEN; i += grid.x * REDUCE_LANES) {
    var value = param[i] * keep - lr * SCALE * step[i];
    if (LATENT_CLIP > 0.0) {
      value = clamp(value, -LATENT_CLIP, LATENT_CLIP);
    }
    param[i] = value;
  }
}
