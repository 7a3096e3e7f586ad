// A number whose unsigned order is the floats' order; −0 and +0 are equal, NaN is 0.
fn order(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return 0u;
  }
  // Negative floats: all bits flipped; others: the sign bit set.
  if (bits > 0x80000000u) {
    return ~bits;
  }
  return bits | 0x80000000u;
}
