// y = x_scale · scale · Σ code·x for many token rows by cooperative matrices, see
// lib/cooperative.wgsl, for weights of −1, 0 and 1 with one scale a row. f16 holds the codes
// exactly, and f32 their sums as long as 127 · IN_DIM stays below 2^22, two bits less than it has,
// since hardware may cut the last ones while it adds. Rows of the result are token rows, its
// columns weight rows.
#import "lib/linear.wgsl"
#import "lib/int8_input.wgsl"
#import "lib/cooperative.wgsl"

const GEMM_STEP: u32 = 32u;
const ROW_STRIDE: u32 = 40u;

var<workgroup> left: array<f16, 2560>;  // (GEMM_TILE, ROW_STRIDE)
var<workgroup> right: array<f16, 2560>; // (GEMM_TILE, ROW_STRIDE)

fn own_tile(workgroup: vec3<u32>, grid: vec3<u32>) -> Tile {
  let row = workgroup.y * GEMM_TILE;
  return Tile(row, workgroup.x * GEMM_TILE, 0u, select(0u, 4u * WORDS, row < active_rows()), 0u);
}

// An invocation brings in half a step of one row of each operand.
fn stage(tile: Tile, step: u32, lane: u32) {
  let own_row = lane / 2u;
  let own_word = lane % 2u * 4u;
  let weight_row = min(tile.column + own_row, WEIGHT_ROWS - 1u);
  let code_row = min(tile.row + own_row, ROWS - 1u) * CODE_STRIDE;
  let word = step / 4u + own_word;
  let x = codes[code_row + word / 4u];
  for (var i = 0u; i < 4u; i++) {
    let at = own_row * ROW_STRIDE + 4u * (own_word + i);
    let code = vec4<f16>(bytes_to_f32(x[i]));
    left[at] = code.x;
    left[at + 1u] = code.y;
    left[at + 2u] = code.z;
    left[at + 3u] = code.w;
    let weight = vec4<f16>(bytes_to_f32(weight_word(weight_row, word + i)));
    right[at] = weight.x;
    right[at + 1u] = weight.y;
    right[at + 2u] = weight.z;
    right[at + 3u] = weight.w;
  }
}

fn put(tile: Tile, row: u32, column: u32, sum: f32) {
  if (row < active_rows()) {
    store(row, column, sum * weight_scale(FIRST_ROW + column, 0u) * row_scales[row]);
  }
}
