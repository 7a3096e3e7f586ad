// Matrix products by cooperative matrices (tensor cores): f16 operands, f32 sums. A workgroup of
// four subgroups computes GEMM_TILE × GEMM_TILE results, each subgroup a quarter as SPAN × SPAN
// matrices of SIDE × SIDE that stay in registers, in steps of GEMM_STEP along the columns of both
// operands. While a step is multiplied, the next one's values are on their way to registers. With
// two BUFFERS they go to where nobody reads, so that a step takes one barrier. lib/cooperative_64,
// _128 and _8.wgsl say what the matrices are.
//
// An operand lies in workgroup memory row by row, rows of `right` being columns of the result.
// LANES is four times the size of subgroups. An operation brings each operand in as UNITS units: it
// says what a unit is (`LeftUnit`, `RightUnit`), reads one (`fetch_left`, `fetch_right`), writes it
// by `put_left` and `put_right` (`stage_left`, `stage_right`), and says where a workgroup's results
// are (`own_tile`) and where a sum goes (`put`).
const GEMM_STEP: u32 = 32u;
// Eight more than a step, so that the rows that are read together lie in different banks.
const ROW_STRIDE: u32 = 40u;
const GEMM_TILE: u32 = 2u * SPAN * SIDE;
const UNITS: u32 = 2u * GEMM_TILE;
const OPERAND: u32 = GEMM_TILE * ROW_STRIDE;
const MATRIX: u32 = SIDE * SIDE;
// From one matrix of a subgroup to the next.
const NEXT: u32 = SIDE * ROW_STRIDE / CELL;

override LANES: u32 = 128u;
override BUFFERS: u32 = 1u;
override CELLS: u32 = BUFFERS * OPERAND / CELL;

struct Tile {
  row: u32,
  column: u32,
  // Of the columns of the operands; nothing is multiplied if they are equal.
  begin: u32,
  end: u32,
  split: u32,
}

// What an invocation brings in for a step: the second ones only where LANES are fewer than UNITS.
struct Units {
  left0: LeftUnit,
  left1: LeftUnit,
  right0: RightUnit,
  right1: RightUnit,
}

var<workgroup> left: array<Cell, CELLS>;         // (BUFFERS, GEMM_TILE, ROW_STRIDE)
var<workgroup> right: array<Cell, CELLS>;        // (BUFFERS, GEMM_TILE, ROW_STRIDE)
var<workgroup> results: array<f32, 4u * MATRIX>; // (subgroups, SIDE, SIDE)

fn fetch(tile: Tile, step: u32, lane: u32) -> Units {
  var units: Units;
  if (lane < UNITS) {
    units.left0 = fetch_left(tile, step, lane);
    units.right0 = fetch_right(tile, step, lane);
  }
  if (lane + LANES < UNITS) {
    units.left1 = fetch_left(tile, step, lane + LANES);
    units.right1 = fetch_right(tile, step, lane + LANES);
  }
  return units;
}

fn stage(units: Units, buffer: u32, lane: u32) {
  if (lane < UNITS) {
    stage_left(units.left0, buffer, lane);
    stage_right(units.right0, buffer, lane);
  }
  if (lane + LANES < UNITS) {
    stage_left(units.left1, buffer, lane + LANES);
    stage_right(units.right1, buffer, lane + LANES);
  }
}

// Write a matrix of every subgroup, its own from (row, column) on.
fn write_results(tile: Tile, row: u32, column: u32, lane: u32) {
  workgroupBarrier();
  let share = lane / (LANES / 4u);
  for (var i = lane % (LANES / 4u); i < MATRIX; i += LANES / 4u) {
    put(tile, tile.row + row + i / SIDE, tile.column + column + i % SIDE, results[share * MATRIX + i]);
  }
  workgroupBarrier();
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  // Past the edges there is nothing to load or store; all take part, as cooperative operations ask
  // for.
  let tile = own_tile(workgroup, grid);
  let share = lane / (LANES / 4u);
  let row = share / 2u * SPAN * SIDE;
  let column = share % 2u * SPAN * SIDE;
  let own = share * MATRIX;
  for (var i = lane; i < 4u * MATRIX; i += LANES) {
    results[i] = 0.0;
  }
  var units = fetch(tile, tile.begin, lane);
  var buffer = 0u;
  stage(units, buffer, lane);
  workgroupBarrier();
  let zero = coopLoadT<Sum>(&results[own], SIDE);
  var c00 = zero;
  var c01 = zero;
  var c02 = zero;
  var c03 = zero;
  var c10 = zero;
  var c11 = zero;
  var c12 = zero;
  var c13 = zero;
  var c20 = zero;
  var c21 = zero;
  var c22 = zero;
  var c23 = zero;
  var c30 = zero;
  var c31 = zero;
  var c32 = zero;
  var c33 = zero;
  for (var step = tile.begin; step < tile.end; step += GEMM_STEP) {
    workgroupBarrier();
    let more = step + GEMM_STEP < tile.end;
    if (more) {
      units = fetch(tile, step + GEMM_STEP, lane);
    }
    for (var k = 0u; k < GEMM_STEP; k += SIDE) {
      let a = (buffer + row * ROW_STRIDE + k) / CELL;
      let b = (buffer + column * ROW_STRIDE + k) / CELL;
      let a0 = coopLoadT<Left>(&left[a], ROW_STRIDE / CELL);
      let a1 = coopLoadT<Left>(&left[a + NEXT], ROW_STRIDE / CELL);
      // A column of the right operand is a row of its tile.
      let b0 = coopLoad<Right>(&right[b], ROW_STRIDE / CELL);
      let b1 = coopLoad<Right>(&right[b + NEXT], ROW_STRIDE / CELL);
      c00 = coopMultiplyAdd(a0, b0, c00);
      c01 = coopMultiplyAdd(a0, b1, c01);
      c10 = coopMultiplyAdd(a1, b0, c10);
      c11 = coopMultiplyAdd(a1, b1, c11);
      if (SPAN == 4u) {
        let b2 = coopLoad<Right>(&right[b + 2u * NEXT], ROW_STRIDE / CELL);
        let b3 = coopLoad<Right>(&right[b + 3u * NEXT], ROW_STRIDE / CELL);
        c02 = coopMultiplyAdd(a0, b2, c02);
        c03 = coopMultiplyAdd(a0, b3, c03);
        c12 = coopMultiplyAdd(a1, b2, c12);
        c13 = coopMultiplyAdd(a1, b3, c13);
        let a2 = coopLoadT<Left>(&left[a + 2u * NEXT], ROW_STRIDE / CELL);
        let a3 = coopLoadT<Left>(&left[a + 3u * NEXT], ROW_STRIDE / CELL);
        c20 = coopMultiplyAdd(a2, b0, c20);
        c21 = coopMultiplyAdd(a2, b1, c21);
        c22 = coopMultiplyAdd(a2, b2, c22);
        c23 = coopMultiplyAdd(a2, b3, c23);
        c30 = coopMultiplyAdd(a3, b0, c30);
        c31 = coopMultiplyAdd(a3, b1, c31);
        c32 = coopMultiplyAdd(a3, b2, c32);
        c33 = coopMultiplyAdd(a3, b3, c33);
      }
    }
    if (more) {
      if (BUFFERS == 1u) {
        workgroupBarrier();
      }
      buffer = (BUFFERS - 1u) * OPERAND - buffer;
      stage(units, buffer, lane);
    }
  }
  workgroupBarrier();
  coopStoreT(c00, &results[own], SIDE);
  write_results(tile, row, column, lane);
  coopStoreT(c01, &results[own], SIDE);
  write_results(tile, row, column + SIDE, lane);
  coopStoreT(c10, &results[own], SIDE);
  write_results(tile, row + SIDE, column, lane);
  coopStoreT(c11, &results[own], SIDE);
  write_results(tile, row + SIDE, column + SIDE, lane);
  if (SPAN == 4u) {
    coopStoreT(c02, &results[own], SIDE);
    write_results(tile, row, column + 2u * SIDE, lane);
    coopStoreT(c03, &results[own], SIDE);
    write_results(tile, row, column + 3u * SIDE, lane);
    coopStoreT(c12, &results[own], SIDE);
    write_results(tile, row + SIDE, column + 2u * SIDE, lane);
    coopStoreT(c13, &results[own], SIDE);
    write_results(tile, row + SIDE, column + 3u * SIDE, lane);
    coopStoreT(c20, &results[own], SIDE);
    write_results(tile, row + 2u * SIDE, column, lane);
    coopStoreT(c21, &results[own], SIDE);
    write_results(tile, row + 2u * SIDE, column + SIDE, lane);
    coopStoreT(c22, &results[own], SIDE);
    write_results(tile, row + 2u * SIDE, column + 2u * SIDE, lane);
    coopStoreT(c23, &results[own], SIDE);
    write_results(tile, row + 2u * SIDE, column + 3u * SIDE, lane);
    coopStoreT(c30, &results[own], SIDE);
    write_results(tile, row + 3u * SIDE, column, lane);
    coopStoreT(c31, &results[own], SIDE);
    write_results(tile, row + 3u * SIDE, column + SIDE, lane);
    coopStoreT(c32, &results[own], SIDE);
    write_results(tile, row + 3u * SIDE, column + 2u * SIDE, lane);
    coopStoreT(c33, &results[own], SIDE);
    write_results(tile, row + 3u * SIDE, column + 3u * SIDE, lane);
  }
}
