// Matrix products by cooperative matrices (tensor cores): f16 operands, f32 sums. For devices whose
// subgroups have 32 invocations and that multiply 16 × 16 × 16. A workgroup of four subgroups
// computes 64 × 64 results in steps of GEMM_STEP along the columns of both operands, each subgroup
// a quarter as 2 × 2 matrices. The operation declares GEMM_STEP, a multiple of 16, and ROW_STRIDE,
// eight more, so that rows lie in different banks; the tiles, `left` and `right`, whose rows are
// those of the result and its columns; and says with `own_tile` where a workgroup's results are,
// with `stage` what the tiles hold, and with `put` where a sum goes.
const GEMM_TILE: u32 = 64u;
const LANES: u32 = 128u;
const SUBGROUP: u32 = 32u;

struct Tile {
  row: u32,
  column: u32,
  // Of the columns of the operands; nothing is multiplied if they are equal.
  begin: u32,
  end: u32,
  split: u32,
}

var<workgroup> results: array<f32, 1024>; // (subgroups, 16, 16)

// Write the 16 × 16 results of every subgroup, its own from (row, column) on.
fn write_results(tile: Tile, row: u32, column: u32, lane: u32) {
  workgroupBarrier();
  for (var i = lane % SUBGROUP; i < 256u; i += SUBGROUP) {
    put(tile, tile.row + row + i / 16u, tile.column + column + i % 16u, results[lane / SUBGROUP * 256u + i]);
  }
  workgroupBarrier();
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  // Past the edges there is nothing to load or store; all take part, as cooperative operations ask
  // for.
  let tile = own_tile(workgroup, grid);
  let subgroup = lane / SUBGROUP;
  let row = subgroup / 2u * 32u;
  let column = subgroup % 2u * 32u;
  let own = subgroup * 256u;
  for (var i = lane; i < 1024u; i += LANES) {
    results[i] = 0.0;
  }
  workgroupBarrier();
  var c00 = coopLoadT<coop_mat16x16<f32, C>>(&results[own], 16u);
  var c01 = coopLoadT<coop_mat16x16<f32, C>>(&results[own], 16u);
  var c10 = coopLoadT<coop_mat16x16<f32, C>>(&results[own], 16u);
  var c11 = coopLoadT<coop_mat16x16<f32, C>>(&results[own], 16u);
  for (var step = tile.begin; step < tile.end; step += GEMM_STEP) {
    workgroupBarrier();
    stage(tile, step, lane);
    workgroupBarrier();
    for (var k = 0u; k < GEMM_STEP; k += 16u) {
      let a0 = coopLoadT<coop_mat16x16<f16, A>>(&left[row * ROW_STRIDE + k], ROW_STRIDE);
      let a1 = coopLoadT<coop_mat16x16<f16, A>>(&left[(row + 16u) * ROW_STRIDE + k], ROW_STRIDE);
      // A column of the right operand is a row of its tile.
      let b0 = coopLoad<coop_mat16x16<f16, B>>(&right[column * ROW_STRIDE + k], ROW_STRIDE);
      let b1 = coopLoad<coop_mat16x16<f16, B>>(&right[(column + 16u) * ROW_STRIDE + k], ROW_STRIDE);
      c00 = coopMultiplyAdd(a0, b0, c00);
      c01 = coopMultiplyAdd(a0, b1, c01);
      c10 = coopMultiplyAdd(a1, b0, c10);
      c11 = coopMultiplyAdd(a1, b1, c11);
    }
  }
  workgroupBarrier();
  coopStoreT(c00, &results[own], 16u);
  write_results(tile, row, column, lane);
  coopStoreT(c01, &results[own], 16u);
  write_results(tile, row, column + 16u, lane);
  coopStoreT(c10, &results[own], 16u);
  write_results(tile, row + 16u, column, lane);
  coopStoreT(c11, &results[own], 16u);
  write_results(tile, row + 16u, column + 16u, lane);
}
