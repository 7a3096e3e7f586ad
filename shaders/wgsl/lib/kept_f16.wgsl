// Operands of matrix products are kept in f16, rounded as lib/gemm_f16.wgsl rounds them.
#import "lib/run_params.wgsl"
#import "lib/half_range.wgsl"

alias Kept = f16;

fn kept(value: f32) -> Kept {
  return Kept(clamp(value, -LARGEST, LARGEST));
}

fn kept_gradient(value: f32) -> Kept {
  return kept(value * (1.0 / run_params.grad_scale));
}
