// out = op(a)·op(b) as lib/gemm.wgsl has it, for M, N and K that are multiples of 4: a tile of
// 128 × 128 results per workgroup, in steps of 16 along K; an invocation computes 8 × 8 as four
// blocks of 4 × 4, 64 rows and columns apart. Operands are read in vectors of four along the axis
// in which they lie, those of the next step while this one's are multiplied. Every sum is made in
// the order of lib/gemm_tile.wgsl, so that results are the same. The operation says what a Quad is
// in workgroup memory, see there.
#import "lib/gemm_vectors.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>; // (M, N), or (splits, M, N)

const GEMM_TILE: u32 = 128u;
const GEMM_STEP: u32 = 16u;
const QUADS: u32 = 32u; // of a tile
const BLOCK: u32 = 16u; // quads between the blocks of an invocation

var<workgroup> a_tile: array<Quad, 512>; // (GEMM_STEP, QUADS)
var<workgroup> b_tile: array<Quad, 512>; // (GEMM_STEP, QUADS)

// Where a quad lies in its tile: moved within the row, so that neighbors along k meet different
// banks.
fn place(k: u32, quad: u32) -> u32 {
  return k * QUADS + (quad ^ (k / 4u * 2u));
}

fn add_products(sums: ptr<function, mat4x4<f32>>, x: vec4<f32>, y: vec4<f32>) {
  (*sums)[0] += x.x * y;
  (*sums)[1] += x.y * y;
  (*sums)[2] += x.z * y;
  (*sums)[3] += x.w * y;
}

// Row i of the block is sums[i].
fn store(split: u32, row: u32, column: u32, sums: mat4x4<f32>) {
  if (row >= M || column >= N) {
    return;
  }
  let at = (split * ITEM_OUT + row * N + column) / 4u;
  for (var i = 0u; i < 4u; i++) {
    var values = widen(sums[i]);
    if (ACCUMULATE) {
      values += out[at + i * N / 4u];
    }
    out[at + i * N / 4u] = values;
  }
}

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let tiles_n = (N + GEMM_TILE - 1u) / GEMM_TILE;
  let tile = flat_workgroup(workgroup, grid);
  let first_row = tile / tiles_n * GEMM_TILE;
  let first_column = tile % tiles_n * GEMM_TILE;
  if (first_row >= M) {
    return;
  }
  // One half of the workgroup brings in op(a), the other op(b); neighbors read neighboring vectors.
  let brings_a = lane < 128u;
  let item = lane % 128u;
  let along_k = select(TRANS_B, !TRANS_A, brings_a);
  let patch_k = 4u * select(item / QUADS, item % 4u, along_k);
  let quad = select(item % QUADS, item / 4u, along_k);

  var low_low = mat4x4<f32>();
  var low_high = mat4x4<f32>();
  var high_low = mat4x4<f32>();
  var high_high = mat4x4<f32>();
  product = workgroup.z % ITEMS;
  let begin = workgroup.z / ITEMS * SPLIT;
  let end = min(begin + SPLIT, K);
  var step = begin;
  var next: Patch;
  if (brings_a) {
    next = a_patch(first_row + 4u * quad, step + patch_k);
  } else {
    next = b_patch(first_column + 4u * quad, step + patch_k);
  }
  while (step < end) {
    workgroupBarrier();
    if (brings_a) {
      a_tile[place(patch_k, quad)] = next.k0;
      a_tile[place(patch_k + 1u, quad)] = next.k1;
      a_tile[place(patch_k + 2u, quad)] = next.k2;
      a_tile[place(patch_k + 3u, quad)] = next.k3;
    } else {
      b_tile[place(patch_k, quad)] = next.k0;
      b_tile[place(patch_k + 1u, quad)] = next.k1;
      b_tile[place(patch_k + 2u, quad)] = next.k2;
      b_tile[place(patch_k + 3u, quad)] = next.k3;
    }
    workgroupBarrier();
    step += GEMM_STEP;
    if (step < end) {
      if (brings_a) {
        next = a_patch(first_row + 4u * quad, step + patch_k);
      } else {
        next = b_patch(first_column + 4u * quad, step + patch_k);
      }
    }
    for (var k = 0u; k < GEMM_STEP; k++) {
      let x_low = vec4<f32>(a_tile[place(k, local.y)]);
      let x_high = vec4<f32>(a_tile[place(k, local.y + BLOCK)]);
      let y_low = vec4<f32>(b_tile[place(k, local.x)]);
      let y_high = vec4<f32>(b_tile[place(k, local.x + BLOCK)]);
      add_products(&low_low, x_low, y_low);
      add_products(&low_high, x_low, y_high);
      add_products(&high_low, x_high, y_low);
      add_products(&high_high, x_high, y_high);
    }
  }
  let row = first_row + 4u * local.y;
  let column = first_column + 4u * local.x;
  store(workgroup.z, row, column, low_low);
  store(workgroup.z, row, column + 4u * BLOCK, low_high);
  store(workgroup.z, row + 4u * BLOCK, column, high_low);
  store(workgroup.z, row + 4u * BLOCK, column + 4u * BLOCK, high_high);
}
