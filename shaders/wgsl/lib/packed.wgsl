// Four signed bytes in a word, the first in the lowest bits.

fn dot16(a: vec4<u32>, b: vec4<u32>) -> i32 {
  return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

// The bytes as floats.
fn bytes_to_f32(word: u32) -> vec4<f32> {
  let shift = vec4<u32>(24u, 16u, 8u, 0u);
  return vec4<f32>(vec4<i32>(vec4<u32>(word) << shift) >> vec4<u32>(24u));
}
