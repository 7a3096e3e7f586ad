// Products of f16 operands of which the weights are −1, 0 or 1: a component adds up eight codes up
// to 127 before it goes to the integers, and f16 holds every integer up to 2048.
#import "lib/half_words.wgsl"

struct Sums {
  a: vec4<f16>,
  b: vec4<f16>,
  c: vec4<f16>,
  d: vec4<f16>,
}

fn begin(exact: vec4<i32>) -> Sums {
  return Sums();
}

fn add(sums: Sums, x: Word, w: Words) -> Sums {
  return Sums(sums.a + x * w.a, sums.b + x * w.b, sums.c + x * w.c, sums.d + x * w.d);
}

fn total(sum: vec4<f16>) -> f32 {
  return dot(vec4<f32>(sum), vec4<f32>(1.0));
}

fn end(exact: vec4<i32>, sums: Sums) -> vec4<i32> {
  return exact + vec4<i32>(vec4<f32>(total(sums.a), total(sums.b), total(sums.c), total(sums.d)));
}
