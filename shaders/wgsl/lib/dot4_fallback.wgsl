// dot4I8Packed for devices whose WGSL lacks it: the sum of the products of the four signed bytes of
// a and b.
fn dot4I8Packed(a: u32, b: u32) -> i32 {
  let shift = vec4<u32>(24u, 16u, 8u, 0u);
  let x = vec4<i32>(vec4<u32>(a) << shift) >> vec4<u32>(24u);
  let y = vec4<i32>(vec4<u32>(b) << shift) >> vec4<u32>(24u);
  return dot(x, y);
}
