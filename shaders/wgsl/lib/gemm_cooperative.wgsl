// Matrix products of training by cooperative matrices, see lib/cooperative.wgsl, lib/gemm_f16.wgsl
// and lib/gemm.wgsl.
#import "lib/gemm_f16.wgsl"
#import "lib/gemm.wgsl"
#import "lib/cooperative.wgsl"

const GEMM_STEP: u32 = 16u;
const ROW_STRIDE: u32 = 24u;

var<workgroup> left: array<f16, 1536>;  // (GEMM_TILE, ROW_STRIDE)
var<workgroup> right: array<f16, 1536>; // (GEMM_TILE, ROW_STRIDE)

fn own_tile(workgroup: vec3<u32>, grid: vec3<u32>) -> Tile {
  let tiles_n = (N + GEMM_TILE - 1u) / GEMM_TILE;
  let tile = flat_workgroup(workgroup, grid);
  product = workgroup.z % ITEMS;
  let begin = workgroup.z / ITEMS * SPLIT;
  return Tile(tile / tiles_n * GEMM_TILE, tile % tiles_n * GEMM_TILE, begin, min(begin + SPLIT, K), workgroup.z);
}

fn stage(tile: Tile, step: u32, lane: u32) {
  for (var item = lane; item < 256u; item += LANES) {
    // Neighbors read neighboring elements of either layout.
    let low = item % 16u;
    let high = item / 16u;
    let a_k = select(low, high, TRANS_A);
    let a_row = 4u * select(high, low, TRANS_A);
    let a_values = narrow_a(a_quad(tile.row + a_row, step + a_k));
    let a_at = a_row * ROW_STRIDE + a_k;
    left[a_at] = a_values.x;
    left[a_at + ROW_STRIDE] = a_values.y;
    left[a_at + 2u * ROW_STRIDE] = a_values.z;
    left[a_at + 3u * ROW_STRIDE] = a_values.w;
    let b_k = select(high, low, TRANS_B);
    let b_column = 4u * select(low, high, TRANS_B);
    let b_values = narrow_b(b_quad(step + b_k, tile.column + b_column));
    let b_at = b_column * ROW_STRIDE + b_k;
    right[b_at] = b_values.x;
    right[b_at + ROW_STRIDE] = b_values.y;
    right[b_at + 2u * ROW_STRIDE] = b_values.z;
    right[b_at + 3u * ROW_STRIDE] = b_values.w;
  }
}

fn put(tile: Tile, row: u32, column: u32, sum: f32) {
  store(tile.split, row, column, sum * select(1.0, run_params.grad_scale, GRADIENT));
}
