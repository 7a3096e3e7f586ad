// int8 weights, row-major, rows padded to 128 columns.
#import "lib/weights/quantized.wgsl"

override WORDS: u32 = (IN_DIM + 127u) / 128u * 32u;

fn weight_word(row: u32, word: u32) -> u32 {
  return weights[(row * WORDS + word) / 4u][word % 4u];
}
