// Four rows of ternary or binary tiles against the activations; lanes take every 16th half tile (16
// bytes of each row). Σ (FACTOR·code − 1)·x = FACTOR·Σ code·x − Σ x, so codes are multiplied as
// they lie.
#import "lib/int8_gemv.wgsl"

fn field_of(tile: vec4<u32>, field: u32) -> vec4<u32> {
  return (tile >> vec4<u32>(field * BITS)) & vec4<u32>(MASK);
}

fn accumulate(row: u32, lane: u32) -> Sums {
  var sums = Sums();
  for (var item = lane; item < 2u * TILES; item += GEMV_LANES) {
    let tile = item / 2u;
    let at = tile_index(row, tile, item % 2u);
    let w0 = weights[at];
    let w1 = weights[at + 2u];
    let w2 = weights[at + 4u];
    let w3 = weights[at + 6u];
    for (var field = 0u; field < FIELDS; field++) {
      let block = tile * FIELDS + field;
      let x = codes[2u * block + item % 2u];
      let codes_times_x = vec4<i32>(
        dot16(field_of(w0, field), x),
        dot16(field_of(w1, field), x),
        dot16(field_of(w2, field), x),
        dot16(field_of(w3, field), x),
      );
      let x_sum = dot16(vec4<u32>(0x01010101u), x);
      sums = add(sums, i32(FACTOR) * codes_times_x - x_sum, row, 32u * block);
    }
  }
  return sums;
}
