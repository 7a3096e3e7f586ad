// Four rows of ternary or binary tiles against the activations; a lane takes every 16th half tile
// (16 bytes of each row). Σ (FACTOR·code − 1)·x = FACTOR·Σ code·x − Σ x, so codes are multiplied as
// they lie.
#import "lib/int8_gemv.wgsl"

fn field_of(tile: vec4<u32>, field: u32) -> vec4<u32> {
  return (tile >> vec4<u32>(field * BITS)) & vec4<u32>(MASK);
}

fn tile_dots(w0: vec4<u32>, w1: vec4<u32>, w2: vec4<u32>, w3: vec4<u32>, x: vec4<u32>) -> vec4<i32> {
  return i32(FACTOR) * dots(w0, w1, w2, w3, x) - sum16(x);
}

fn accumulate(row: u32, lane: u32) -> Sums {
  var sums = Sums();
  for (var item = lane; item < 2u * TILES; item += GEMV_LANES) {
    let tile = item / 2u;
    let at = tile_index(row, tile, item % 2u);
    let t0 = weights[at];
    let t1 = weights[at + 2u];
    let t2 = weights[at + 4u];
    let t3 = weights[at + 6u];
    for (var field = 0u; field < FIELDS; field++) {
      let block = tile * FIELDS + field;
      let x = 2u * block + item % 2u;
      let w0 = field_of(t0, field);
      let w1 = field_of(t1, field);
      let w2 = field_of(t2, field);
      let w3 = field_of(t3, field);
      let by = group_scales(row, 32u * block);
      sums.r0 = add(sums.r0, tile_dots(w0, w1, w2, w3, codes[x]), by);
      if (ROWS > 1u) { sums.r1 = add(sums.r1, tile_dots(w0, w1, w2, w3, codes[x + CODE_STRIDE]), by); }
      if (ROWS > 2u) { sums.r2 = add(sums.r2, tile_dots(w0, w1, w2, w3, codes[x + 2u * CODE_STRIDE]), by); }
      if (ROWS > 3u) { sums.r3 = add(sums.r3, tile_dots(w0, w1, w2, w3, codes[x + 3u * CODE_STRIDE]), by); }
      if (ROWS > 4u) { sums.r4 = add(sums.r4, tile_dots(w0, w1, w2, w3, codes[x + 4u * CODE_STRIDE]), by); }
      if (ROWS > 5u) { sums.r5 = add(sums.r5, tile_dots(w0, w1, w2, w3, codes[x + 5u * CODE_STRIDE]), by); }
      if (ROWS > 6u) { sums.r6 = add(sums.r6, tile_dots(w0, w1, w2, w3, codes[x + 6u * CODE_STRIDE]), by); }
      if (ROWS > 7u) { sums.r7 = add(sums.r7, tile_dots(w0, w1, w2, w3, codes[x + 7u * CODE_STRIDE]), by); }
    }
  }
  return sums;
}
