enable f16;
enable wgpu_cooperative_matrix;
// Matrix product by cooperative matrices (tensor cores): f16 operands, f32 sums, see
// lib/gemm_f16.wgsl and lib/gemm.wgsl. For devices whose subgroups have 32 invocations and that
// multiply 16 × 16 × 16. A workgroup of four subgroups computes 64 × 64 results in steps of 16
// along K, each subgroup a quarter as 2 × 2 matrices; operands are staged row by row.
#import "lib/gemm_f16.wgsl"
#import "lib/gemm.wgsl"

const GEMM_TILE: u32 = 64u;
const GEMM_STEP: u32 = 16u;
const LANES: u32 = 128u;
const SUBGROUP: u32 = 32u;

var<workgroup> a_tile: array<f16, 1024>; // (GEMM_TILE, GEMM_STEP)
var<workgroup> b_tile: array<f16, 1024>; // (GEMM_STEP, GEMM_TILE)
var<workgroup> results: array<f32, 1024>; // (subgroups, 16, 16)

// Write the 16 × 16 results of every subgroup, its own starting at `row` and `column` of the
// quarter.
fn write_results(split: u32, quarter_row: u32, quarter_column: u32, lane: u32) {
  workgroupBarrier();
  for (var i = lane % SUBGROUP; i < 256u; i += SUBGROUP) {
    let value = results[lane / SUBGROUP * 256u + i] * select(1.0, run_params.grad_scale, GRADIENT);
    store(split, quarter_row + i / 16u, quarter_column + i % 16u, value);
  }
  workgroupBarrier();
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let tiles_n = (N + GEMM_TILE - 1u) / GEMM_TILE;
  let tile = flat_workgroup(workgroup, grid);
  let first_row = tile / tiles_n * GEMM_TILE;
  // Past the last tile there is nothing to load or store; all take part, as cooperative operations
  // ask for.
  let first_column = tile % tiles_n * GEMM_TILE;
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

  let begin = workgroup.z * SPLIT;
  let end = min(begin + SPLIT, K);
  for (var step = begin; step < end; step += GEMM_STEP) {
    workgroupBarrier();
    for (var item = lane; item < 256u; item += LANES) {
      // Neighbors read neighboring elements of either layout.
      let low = item % 16u;
      let high = item / 16u;
      let a_k = select(low, high, TRANS_A);
      let a_row = 4u * select(high, low, TRANS_A);
      let a_values = narrow_a(a_quad(first_row + a_row, step + a_k));
      a_tile[a_row * GEMM_STEP + a_k] = a_values.x;
      a_tile[(a_row + 1u) * GEMM_STEP + a_k] = a_values.y;
      a_tile[(a_row + 2u) * GEMM_STEP + a_k] = a_values.z;
      a_tile[(a_row + 3u) * GEMM_STEP + a_k] = a_values.w;
      let b_k = select(high, low, TRANS_B);
      let b_column = 4u * select(low, high, TRANS_B);
      let b_values = narrow_b(b_quad(step + b_k, first_column + b_column));
      let at = b_k * GEMM_TILE + b_column;
      b_tile[at] = b_values.x;
      b_tile[at + 1u] = b_values.y;
      b_tile[at + 2u] = b_values.z;
      b_tile[at + 3u] = b_values.w;
    }
    workgroupBarrier();
    let a0 = coopLoadT<coop_mat16x16<f16, A>>(&a_tile[row * GEMM_STEP], GEMM_STEP);
    let a1 = coopLoadT<coop_mat16x16<f16, A>>(&a_tile[(row + 16u) * GEMM_STEP], GEMM_STEP);
    let b0 = coopLoadT<coop_mat16x16<f16, B>>(&b_tile[column], GEMM_TILE);
    let b1 = coopLoadT<coop_mat16x16<f16, B>>(&b_tile[column + 16u], GEMM_TILE);
    c00 = coopMultiplyAdd(a0, b0, c00);
    c01 = coopMultiplyAdd(a0, b1, c01);
    c10 = coopMultiplyAdd(a1, b0, c10);
    c11 = coopMultiplyAdd(a1, b1, c11);
  }
  workgroupBarrier();
  coopStoreT(c00, &results[own], 16u);
  write_results(workgroup.z, first_row + row, first_column + column, lane);
  coopStoreT(c01, &results[own], 16u);
  write_results(workgroup.z, first_row + row, first_column + column + 16u, lane);
  coopStoreT(c10, &results[own], 16u);
  write_results(workgroup.z, first_row + row + 16u, first_column + column, lane);
  coopStoreT(c11, &results[own], 16u);
  write_results(workgroup.z, first_row + row + 16u, first_column + column + 16u, lane);
}
