// Four rows of int8 weights against the activations; lanes take every 16th stretch of 16 columns.
#import "lib/int8_gemv.wgsl"

fn accumulate(row: u32, lane: u32) -> Sums {
  let stride = WORDS / 4u;
  var sums = Sums();
  for (var item = lane; item < stride; item += GEMV_LANES) {
    let x = codes[item];
    let at = row * stride + item;
    let products = vec4<i32>(
      dot16(weights[at], x),
      dot16(weights[at + stride], x),
      dot16(weights[at + 2u * stride], x),
      dot16(weights[at + 3u * stride], x),
    );
    sums = add(sums, products, row, 16u * item);
  }
  return sums;
}
