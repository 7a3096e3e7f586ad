// Operands of a matrix product whose M, N and K are multiples of 4, read in vectors of four along
// the axis in which they lie: see lib/gemm.wgsl.
#import "lib/gemm_shape.wgsl"
#import "lib/patch.wgsl"

@group(0) @binding(1) var<storage, read> a: array<vec4<StoredA>>; // (M, K), with TRANS_A (K, M)
@group(0) @binding(2) var<storage, read> b: array<vec4<StoredB>>; // (K, N), with TRANS_B (N, K)

fn a_patch(row: u32, k: u32) -> Patch {
  if (row >= M || k >= K) {
    return Patch();
  }
  let at = (product * ITEM_A + select(row * K + k, k * M + row, TRANS_A)) / 4u;
  let stride = select(K, M, TRANS_A) / 4u;
  let p = Patch(narrow_a(a[at]), narrow_a(a[at + stride]), narrow_a(a[at + 2u * stride]), narrow_a(a[at + 3u * stride]));
  if (TRANS_A) {
    return p;
  }
  return transposed(p);
}

fn b_patch(column: u32, k: u32) -> Patch {
  if (column >= N || k >= K) {
    return Patch();
  }
  let at = (product * ITEM_B + select(k * N + column, column * K + k, TRANS_B)) / 4u;
  let stride = select(N, K, TRANS_B) / 4u;
  let p = Patch(narrow_b(b[at]), narrow_b(b[at + stride]), narrow_b(b[at + 2u * stride]), narrow_b(b[at + 3u * stride]));
  if (TRANS_B) {
    return transposed(p);
  }
  return p;
}
