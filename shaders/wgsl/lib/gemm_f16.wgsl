// Operands of a matrix product in f16. With GRADIENT, a is the gradient of a mean: it is divided by
// run_params.grad_scale (1 over the tokens of a step) on the way in and multiplied on the way out,
// or most of it would be too small for f16. What is stored in f16 has been rounded, and divided, by
// the operation that wrote it: lib/kept_f16.wgsl does it as it is done here.
#import "lib/run_params.wgsl"
#import "lib/half_range.wgsl"

override GRADIENT: bool;

alias Quad = vec4<f16>;

fn narrow(quad: vec4<f32>) -> Quad {
  return Quad(clamp(quad, vec4<f32>(-LARGEST), vec4<f32>(LARGEST)));
}

fn narrow_a(quad: vec4<StoredA>) -> Quad {
  if (HALF_A) {
    return Quad(quad);
  }
  return narrow(vec4<f32>(quad) * select(1.0, 1.0 / run_params.grad_scale, GRADIENT));
}

fn narrow_b(quad: vec4<StoredB>) -> Quad {
  if (HALF_B) {
    return Quad(quad);
  }
  return narrow(vec4<f32>(quad));
}

fn widen(sums: vec4<f32>) -> vec4<f32> {
  return sums * select(1.0, run_params.grad_scale, GRADIENT);
}
