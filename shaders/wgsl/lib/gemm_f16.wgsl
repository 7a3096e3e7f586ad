// Operands of a matrix product in f16. With GRADIENT, a is the gradient of a mean: it is divided by
// run_params.grad_scale (1 over the tokens of a step) on the way in and multiplied on the way out,
// or most of it would be too small for f16.
#import "lib/run_params.wgsl"

override GRADIENT: bool;

const LARGEST: f32 = 65504.0;

alias Quad = vec4<f16>;

fn narrow_a(quad: vec4<f32>) -> Quad {
  return narrow_b(quad * select(1.0, 1.0 / run_params.grad_scale, GRADIENT));
}

fn narrow_b(quad: vec4<f32>) -> Quad {
  return Quad(clamp(quad, vec4<f32>(-LARGEST), vec4<f32>(LARGEST)));
}

fn widen(sums: vec4<f32>) -> vec4<f32> {
  return sums * select(1.0, run_params.grad_scale, GRADIENT);
}
