// y = x_scale · scale · Σ code·x for many token rows by cooperative matrices, see
// lib/cooperative.wgsl, for weights of −1, 0 and 1 with one scale a row. f16 holds the codes
// exactly, and f32 their sums as long as 127 · IN_DIM stays below 2^22, two bits less than it has,
// since hardware may cut the last ones while it adds. Rows of the result are token rows, its
// columns weight rows. A unit is 16 columns of a row: int8 codes, or a weight's codes of
// lib/weights/tile.wgsl, each in a byte.
#import "lib/linear.wgsl"
#import "lib/int8_input.wgsl"

alias LeftUnit = vec4<u32>;
alias RightUnit = vec4<u32>;

fn own_tile(workgroup: vec3<u32>, grid: vec3<u32>) -> Tile {
  let row = workgroup.y * GEMM_TILE;
  return Tile(row, workgroup.x * GEMM_TILE, 0u, select(0u, 4u * WORDS, row < active_rows()), 0u);
}

fn fetch_left(tile: Tile, step: u32, unit: u32) -> vec4<u32> {
  let row = min(tile.row + unit / 2u, ROWS - 1u);
  return codes[row * CODE_STRIDE + step / 16u + unit % 2u];
}

// A step is one field of a tile.
fn fetch_right(tile: Tile, step: u32, unit: u32) -> vec4<u32> {
  let row = min(tile.column + unit / 2u, WEIGHT_ROWS - 1u);
  let field = step / GEMM_STEP;
  let shift = vec4<u32>(field % FIELDS * BITS);
  return (weights[tile_index(row, field / FIELDS, unit % 2u)] >> shift) & vec4<u32>(MASK);
}

fn place(buffer: u32, unit: u32) -> u32 {
  return buffer + unit / 2u * ROW_STRIDE + unit % 2u * 16u;
}

fn stage_left(x: vec4<u32>, buffer: u32, unit: u32) {
  let at = place(buffer, unit);
  put_left(at, vec4<f16>(bytes_to_f32(x.x)));
  put_left(at + 4u, vec4<f16>(bytes_to_f32(x.y)));
  put_left(at + 8u, vec4<f16>(bytes_to_f32(x.z)));
  put_left(at + 12u, vec4<f16>(bytes_to_f32(x.w)));
}

fn weights4(codes: u32) -> vec4<f16> {
  return vec4<f16>(bytes_to_f32(codes * FACTOR) - 1.0);
}

fn stage_right(codes: vec4<u32>, buffer: u32, unit: u32) {
  let at = place(buffer, unit);
  put_right(at, weights4(codes.x));
  put_right(at + 4u, weights4(codes.y));
  put_right(at + 8u, weights4(codes.z));
  put_right(at + 12u, weights4(codes.w));
}

fn put(tile: Tile, row: u32, column: u32, sum: f32) {
  if (row < active_rows()) {
    store(row, column, sum * weight_scale(FIRST_ROW + column, 0u) * row_scales[row]);
  }
}
