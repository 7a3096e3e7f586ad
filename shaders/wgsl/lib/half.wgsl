// Binary16, two in a word, rounded as ternary_core::math::to_half does: half to even, and beyond
// the range to the largest finite value. How WGSL's own packing rounds is left to the device.
const LARGEST_HALF: f32 = 65504.0;
const SMALLEST_NORMAL: u32 = 0x38800000u;
const REBIAS: u32 = 0x38000000u; // 112 exponents

fn to_half(v: f32) -> u32 {
  let sign = (bitcast<u32>(v) >> 16u) & 0x8000u;
  let size = min(abs(v), LARGEST_HALF);
  let bits = bitcast<u32>(size);
  if (bits < SMALLEST_NORMAL) {
    // Units of 2⁻²⁴, binary16's smallest subnormal.
    return sign | u32(round(size * 16777216.0));
  }
  return sign | ((bits - REBIAS + 0xfffu + ((bits >> 13u) & 1u)) >> 13u);
}

fn to_halves(low: f32, high: f32) -> u32 {
  return to_half(low) | (to_half(high) << 16u);
}

// Element i of words.
fn from_half(word: u32, i: u32) -> f32 {
  return unpack2x16float(word)[i % 2u];
}
