// Ternary and binary weights in the run-time tile: 4 rows interleaved, 32 bytes (two vec4) of each
// row in turn; byte j of a row's part holds weights j + 32·f in bits f·BITS. A weight is
// FACTOR·code − 1.
#import "lib/weights/quantized.wgsl"

// Tiles per row.
override TILES: u32 = (IN_DIM + 32u * FIELDS - 1u) / (32u * FIELDS);

// Words (4 columns each) that a row takes.
override WORDS: u32 = TILES * FIELDS * 8u;

// Index in `weights` of half `half` of row `row` in tile `tile`.
fn tile_index(row: u32, tile: u32, half: u32) -> u32 {
  return ((row / 4u) * TILES + tile) * 8u + (row % 4u) * 2u + half;
}

// Weights of columns 4·word .. 4·word + 3 as signed bytes.
fn weight_word(row: u32, word: u32) -> u32 {
  let tile = word / (8u * FIELDS);
  let field = word % (8u * FIELDS) / 8u;
  let quad = word % 8u;
  let codes = (weights[tile_index(row, tile, quad / 4u)][quad % 4u] >> (field * BITS)) & MASK;
  // Subtract 1 from each byte without borrowing from the next.
  return (((codes * FACTOR) | 0x80808080u) - 0x01010101u) ^ 0x80808080u;
}
