// y = x_scale · scale · Σ code·x for many token rows by cooperative matrices (tensor cores), for
// weights of −1, 0 and 1 with one scale a row. f16 holds the codes exactly, and f32 their sums as
// long as 127 · IN_DIM stays below 2^22, two bits less than it has, since hardware may cut the last
// ones while it adds. For devices whose subgroups have 32 invocations and that multiply 16 × 16 ×
// 16. A workgroup of four subgroups computes 64 token rows × 64 weight rows in steps of 32 columns,
// each subgroup a quarter as 2 × 2 matrices; both operands are staged row by row.
#import "lib/linear.wgsl"
#import "lib/int8_input.wgsl"

const GEMM_TILE: u32 = 64u;
const LANES: u32 = 128u;
const SUBGROUP: u32 = 32u;
const STEP_WORDS: u32 = 8u;
// Eight columns more than a step: rows lie in different banks.
const ROW_STRIDE: u32 = 40u;

var<workgroup> code_tile: array<f16, 2560>;   // (GEMM_TILE, ROW_STRIDE)
var<workgroup> weight_tile: array<f16, 2560>; // (GEMM_TILE, ROW_STRIDE)
var<workgroup> results: array<f32, 1024>;     // (subgroups, 16, 16)

// Write the 16 × 16 results of every subgroup, its own from token row `r` and weight row `row` on.
fn write_results(r: u32, row: u32, lane: u32) {
  workgroupBarrier();
  for (var i = lane % SUBGROUP; i < 256u; i += SUBGROUP) {
    let own_r = r + i / 16u;
    let own_row = row + i % 16u;
    if (own_r < active_rows()) {
      let sum = results[lane / SUBGROUP * 256u + i];
      store(own_r, own_row, sum * weight_scale(FIRST_ROW + own_row, 0u) * row_scales[own_r]);
    }
  }
  workgroupBarrier();
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first_r = workgroup.y * GEMM_TILE;
  if (first_r >= active_rows()) {
    return;
  }
  let first_row = workgroup.x * GEMM_TILE;

  // What this invocation brings in: half a step of one row of each operand.
  let load_row = lane / 2u;
  let load_word = lane % 2u * 4u;
  let weight_row = min(first_row + load_row, WEIGHT_ROWS - 1u);
  let code_row = min(first_r + load_row, ROWS - 1u) * CODE_STRIDE;

  let subgroup = lane / SUBGROUP;
  let r = subgroup / 2u * 32u;
  let row = subgroup % 2u * 32u;
  let own = subgroup * 256u;
  for (var i = lane; i < 1024u; i += LANES) {
    results[i] = 0.0;
  }
  workgroupBarrier();
  var c00 = coopLoadT<coop_mat16x16<f32, C>>(&results[own], 16u);
  var c01 = coopLoadT<coop_mat16x16<f32, C>>(&results[own], 16u);
  var c10 = coopLoadT<coop_mat16x16<f32, C>>(&results[own], 16u);
  var c11 = coopLoadT<coop_mat16x16<f32, C>>(&results[own], 16u);
  for (var step = 0u; step < WORDS; step += STEP_WORDS) {
    workgroupBarrier();
    let x = codes[code_row + (step + load_word) / 4u];
    for (var i = 0u; i < 4u; i++) {
      let at = load_row * ROW_STRIDE + 4u * (load_word + i);
      let code = vec4<f16>(bytes_to_f32(x[i]));
      code_tile[at] = code.x;
      code_tile[at + 1u] = code.y;
      code_tile[at + 2u] = code.z;
      code_tile[at + 3u] = code.w;
      let weight = vec4<f16>(bytes_to_f32(weight_word(weight_row, step + load_word + i)));
      weight_tile[at] = weight.x;
      weight_tile[at + 1u] = weight.y;
      weight_tile[at + 2u] = weight.z;
      weight_tile[at + 3u] = weight.w;
    }
    workgroupBarrier();
    for (var k = 0u; k < 4u * STEP_WORDS; k += 16u) {
      let a0 = coopLoadT<coop_mat16x16<f16, A>>(&code_tile[r * ROW_STRIDE + k], ROW_STRIDE);
      let a1 = coopLoadT<coop_mat16x16<f16, A>>(&code_tile[(r + 16u) * ROW_STRIDE + k], ROW_STRIDE);
      // A column of the right operand is a weight row.
      let b0 = coopLoad<coop_mat16x16<f16, B>>(&weight_tile[row * ROW_STRIDE + k], ROW_STRIDE);
      let b1 = coopLoad<coop_mat16x16<f16, B>>(&weight_tile[(row + 16u) * ROW_STRIDE + k], ROW_STRIDE);
      c00 = coopMultiplyAdd(a0, b0, c00);
      c01 = coopMultiplyAdd(a0, b1, c01);
      c10 = coopMultiplyAdd(a1, b0, c10);
      c11 = coopMultiplyAdd(a1, b1, c11);
    }
  }
  workgroupBarrier();
  coopStoreT(c00, &results[own], 16u);
  write_results(first_r + r, first_row + row, lane);
  coopStoreT(c01, &results[own], 16u);
  write_results(first_r + r, first_row + row + 16u, lane);
  coopStoreT(c10, &results[own], 16u);
  write_results(first_r + r + 16u, first_row + row, lane);
  coopStoreT(c11, &results[own], 16u);
  write_results(first_r + r + 16u, first_row + row + 16u, lane);
}
