// Products of f16 operands of which the weights are int8: f32 adds up 32 of them, at most 32 ·
// 127², before they go to the integers, and it holds every integer up to 2^24.
#import "lib/half_words.wgsl"

alias Sums = vec4<f32>;

fn begin(exact: vec4<i32>) -> Sums {
  return Sums();
}

fn add(sums: Sums, x: Word, w: Words) -> Sums {
  let y = vec4<f32>(x);
  return sums + vec4<f32>(dot(y, vec4<f32>(w.a)), dot(y, vec4<f32>(w.b)), dot(y, vec4<f32>(w.c)), dot(y, vec4<f32>(w.d)));
}

fn end(exact: vec4<i32>, sums: Sums) -> vec4<i32> {
  return exact + vec4<i32>(sums);
}
