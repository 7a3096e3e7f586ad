// The factor that keeps the gradients' norm, the root of Σ norms, within CLIP_NORM (0 = off). Every
// invocation of a workgroup takes part.
#import "lib/run_params.wgsl"
#import "lib/reduce.wgsl"
#import "lib/finite.wgsl"

@group(0) @binding(1) var<storage, read> norms: array<f32>; // (NORM_COUNT)

const REDUCE_LANES: u32 = 256u;

override NORM_COUNT: u32;
override CLIP_NORM: f32;

struct Clipping {
  finite: bool, // what is not leaves the parameters alone
  factor: f32,
}

fn clipping(lane: u32) -> Clipping {
  var squares = 0.0;
  for (var i = lane; i < NORM_COUNT; i += REDUCE_LANES) {
    squares += norms[i];
  }
  let total = reduce_sum(lane, squares);
  let norm = sqrt(total);
  var factor = 1.0;
  if (CLIP_NORM > 0.0 && norm > CLIP_NORM) {
    factor = CLIP_NORM / norm;
  }
  return Clipping(is_finite(total), factor);
}
