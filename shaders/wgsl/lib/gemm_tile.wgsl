// A tile of 64 × 64 results per workgroup, in steps of 16 along K; an invocation computes 4 × 4
// neighboring results. Tiles of the operands lie in workgroup memory k by k, in quads, a row of
// them one longer than needed so that neighbors along k meet different banks. The operation says
// what a Quad is there: `narrow_a` and `narrow_b` make one, `widen` undoes their scaling on four
// sums.
#import "lib/gemm.wgsl"

const GEMM_TILE: u32 = 64u;
const GEMM_STEP: u32 = 16u;
const QUADS: u32 = 16u;
const QUAD_STRIDE: u32 = 17u;

var<workgroup> a_tile: array<Quad, 272>; // (GEMM_STEP, QUAD_STRIDE)
var<workgroup> b_tile: array<Quad, 272>; // (GEMM_STEP, QUAD_STRIDE)

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let tiles_n = (N + GEMM_TILE - 1u) / GEMM_TILE;
  let tile = flat_workgroup(workgroup, grid);
  let first_row = tile / tiles_n * GEMM_TILE;
  let first_column = tile % tiles_n * GEMM_TILE;
  if (first_row >= M) {
    return;
  }
  // What this invocation brings in: neighbors read neighboring elements of either layout.
  let low = lane % 16u;
  let high = lane / 16u;
  let a_k = select(low, high, TRANS_A);
  let a_q = select(high, low, TRANS_A);
  let b_k = select(high, low, TRANS_B);
  let b_q = select(low, high, TRANS_B);

  var sums0 = vec4<f32>();
  var sums1 = vec4<f32>();
  var sums2 = vec4<f32>();
  var sums3 = vec4<f32>();
  product = workgroup.z % ITEMS;
  let begin = workgroup.z / ITEMS * SPLIT;
  let end = min(begin + SPLIT, K);
  for (var step = begin; step < end; step += GEMM_STEP) {
    workgroupBarrier();
    a_tile[a_k * QUAD_STRIDE + a_q] = narrow_a(a_quad(first_row + 4u * a_q, step + a_k));
    b_tile[b_k * QUAD_STRIDE + b_q] = narrow_b(b_quad(step + b_k, first_column + 4u * b_q));
    workgroupBarrier();
    for (var k = 0u; k < GEMM_STEP; k++) {
      let x = vec4<f32>(a_tile[k * QUAD_STRIDE + local.y]);
      let y = vec4<f32>(b_tile[k * QUAD_STRIDE + local.x]);
      sums0 += x.x * y;
      sums1 += x.y * y;
      sums2 += x.z * y;
      sums3 += x.w * y;
    }
  }
  let row = first_row + 4u * local.y;
  let column = first_column + 4u * local.x;
  store_quad(workgroup.z, row, column, widen(sums0));
  store_quad(workgroup.z, row + 1u, column, widen(sums1));
  store_quad(workgroup.z, row + 2u, column, widen(sums2));
  store_quad(workgroup.z, row + 3u, column, widen(sums3));
}
