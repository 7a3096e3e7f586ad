// Four rows of int8 weights against the activations; a lane takes every 16th stretch of 16 columns.
#import "lib/int8_gemv.wgsl"

fn accumulate(row: u32, lane: u32) -> Sums {
  let stride = WORDS / 4u;
  var sums = Sums();
  for (var item = lane; item < stride; item += GEMV_LANES) {
    let at = row * stride + item;
    let w0 = weights[at];
    let w1 = weights[at + stride];
    let w2 = weights[at + 2u * stride];
    let w3 = weights[at + 3u * stride];
    let by = group_scales(row, 16u * item);
    sums.r0 = add(sums.r0, dots(w0, w1, w2, w3, codes[item]), by);
    if (ROWS > 1u) { sums.r1 = add(sums.r1, dots(w0, w1, w2, w3, codes[item + CODE_STRIDE]), by); }
    if (ROWS > 2u) { sums.r2 = add(sums.r2, dots(w0, w1, w2, w3, codes[item + 2u * CODE_STRIDE]), by); }
    if (ROWS > 3u) { sums.r3 = add(sums.r3, dots(w0, w1, w2, w3, codes[item + 3u * CODE_STRIDE]), by); }
    if (ROWS > 4u) { sums.r4 = add(sums.r4, dots(w0, w1, w2, w3, codes[item + 4u * CODE_STRIDE]), by); }
    if (ROWS > 5u) { sums.r5 = add(sums.r5, dots(w0, w1, w2, w3, codes[item + 5u * CODE_STRIDE]), by); }
    if (ROWS > 6u) { sums.r6 = add(sums.r6, dots(w0, w1, w2, w3, codes[item + 6u * CODE_STRIDE]), by); }
    if (ROWS > 7u) { sums.r7 = add(sums.r7, dots(w0, w1, w2, w3, codes[item + 7u * CODE_STRIDE]), by); }
  }
  return sums;
}
