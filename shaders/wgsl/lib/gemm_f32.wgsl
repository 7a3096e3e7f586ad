// Operands of a matrix product in f32.
#import "lib/operands_f32.wgsl"

alias Quad = vec4<f32>;

fn narrow_a(quad: vec4<f32>) -> Quad {
  return quad;
}

fn narrow_b(quad: vec4<f32>) -> Quad {
  return quad;
}

fn widen(sums: vec4<f32>) -> vec4<f32> {
  return sums;
}
