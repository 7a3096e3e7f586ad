// Products of 16 activation codes with 16 codes of four weight rows each: integers either way. With
// FLOAT_DOT they are multiplied as floats, for devices whose dot product of packed bytes is slow:
// 16 · 127 · 127 is far below 2^24, so nothing is rounded.
override FLOAT_DOT: bool = false;

struct Floats {
  x: vec4<f32>,
  y: vec4<f32>,
  z: vec4<f32>,
  w: vec4<f32>,
}

fn floats(codes: vec4<u32>) -> Floats {
  return Floats(bytes_to_f32(codes.x), bytes_to_f32(codes.y), bytes_to_f32(codes.z), bytes_to_f32(codes.w));
}

fn float_dot16(a: Floats, b: Floats) -> f32 {
  return dot(a.x, b.x) + dot(a.y, b.y) + dot(a.z, b.z) + dot(a.w, b.w);
}

fn dots(w0: vec4<u32>, w1: vec4<u32>, w2: vec4<u32>, w3: vec4<u32>, x: vec4<u32>) -> vec4<i32> {
  if (FLOAT_DOT) {
    let y = floats(x);
    return vec4<i32>(vec4<f32>(float_dot16(floats(w0), y), float_dot16(floats(w1), y), float_dot16(floats(w2), y), float_dot16(floats(w3), y)));
  }
  return vec4<i32>(dot16(w0, x), dot16(w1, x), dot16(w2, x), dot16(w3, x));
}

// Σ of 16 activation codes.
fn sum16(x: vec4<u32>) -> i32 {
  if (FLOAT_DOT) {
    let y = floats(x);
    return i32(dot(y.x + y.y + y.z + y.w, vec4<f32>(1.0)));
  }
  return dot16(vec4<u32>(0x01010101u), x);
}
