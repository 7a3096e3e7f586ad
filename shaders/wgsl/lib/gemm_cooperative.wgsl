// Matrix products of training by cooperative matrices, see lib/cooperative.wgsl, lib/gemm_f16.wgsl
// and lib/gemm.wgsl. A unit is a patch of 4 × 4: lib/gemm_patches.wgsl or lib/gemm_vectors.wgsl
// reads it.
#import "lib/gemm_f16.wgsl"

alias LeftUnit = Patch;
alias RightUnit = Patch;

fn own_tile(workgroup: vec3<u32>, grid: vec3<u32>) -> Tile {
  let tiles_n = (N + GEMM_TILE - 1u) / GEMM_TILE;
  let tile = flat_workgroup(workgroup, grid);
  product = workgroup.z % ITEMS;
  let row = tile / tiles_n * GEMM_TILE;
  let begin = workgroup.z / ITEMS * SPLIT;
  let end = select(begin, min(begin + SPLIT, K), row < M);
  return Tile(row, tile % tiles_n * GEMM_TILE, begin, end, workgroup.z);
}

// The first row of a unit and its first column: neighbors read neighboring elements of either
// layout, and write to different banks.
fn place(unit: u32, along_k: bool) -> vec2<u32> {
  return 4u * select(vec2<u32>(unit / 32u * 4u + unit % 4u, unit / 4u % 8u), vec2<u32>(unit / 8u, unit % 8u), along_k);
}

fn fetch_left(tile: Tile, step: u32, unit: u32) -> Patch {
  let at = place(unit, !TRANS_A);
  return a_patch(tile.row + at.x, step + at.y);
}

fn fetch_right(tile: Tile, step: u32, unit: u32) -> Patch {
  let at = place(unit, TRANS_B);
  return b_patch(tile.column + at.x, step + at.y);
}

fn stage_left(values: Patch, buffer: u32, unit: u32) {
  let first = place(unit, !TRANS_A);
  let at = buffer + first.x * ROW_STRIDE + first.y;
  let rows = transposed(values);
  put_left(at, rows.k0);
  put_left(at + ROW_STRIDE, rows.k1);
  put_left(at + 2u * ROW_STRIDE, rows.k2);
  put_left(at + 3u * ROW_STRIDE, rows.k3);
}

fn stage_right(values: Patch, buffer: u32, unit: u32) {
  let first = place(unit, TRANS_B);
  let at = buffer + first.x * ROW_STRIDE + first.y;
  let rows = transposed(values);
  put_right(at, rows.k0);
  put_right(at + ROW_STRIDE, rows.k1);
  put_right(at + 2u * ROW_STRIDE, rows.k2);
  put_right(at + 3u * ROW_STRIDE, rows.k3);
}

fn put(tile: Tile, row: u32, column: u32, sum: f32) {
  store(tile.split, row, column, sum * select(1.0, run_params.grad_scale, GRADIENT));
}
