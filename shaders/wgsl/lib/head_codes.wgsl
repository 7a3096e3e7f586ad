// A head of HEAD_DIM keys or values as the cache keeps it in 8 bits: HEAD_DIM / 4 words of codes,
// round_half_even(x / scale), four to a word, and a word with the scale, max(max|x|, 1e-5) / 127.
// The operation declares HEAD_DIM, a multiple of four, and puts the values into `kept`; then every
// invocation of its workgroup takes part.
#import "lib/reduce.wgsl"

var<workgroup> kept: array<f32, HEAD_DIM>;

fn head_scale(lane: u32) -> f32 {
  var largest = 0.0;
  for (var i = lane; i < HEAD_DIM; i += REDUCE_LANES) {
    largest = max(largest, abs(kept[i]));
  }
  return max(reduce_max(lane, largest), 1e-5) / 127.0;
}

fn head_code(i: u32, scale: f32) -> u32 {
  return u32(i32(clamp(round(kept[i] / scale), -127.0, 127.0))) & 0xffu;
}

// Word `word` of the head.
fn head_word(word: u32, scale: f32) -> u32 {
  if (word == HEAD_DIM / 4u) {
    return bitcast<u32>(scale);
  }
  let i = 4u * word;
  return head_code(i, scale) | (head_code(i + 1u, scale) << 8u) | (head_code(i + 2u, scale) << 16u) | (head_code(i + 3u, scale) << 24u);
}
