// Operands and result of out = op(a)·op(b), (M, K)·(K, N) → (M, N). Operands come in quads: four
// rows of op(a), or four columns of op(b), at one k; zeros past the edges. The operation says what
// they are stored as (`StoredA`, `StoredB`). K is cut into stretches of SPLIT (a multiple of every
// step), one per workgroup in z; with several, each writes its own product and scaled_sum.wgsl adds
// them up in order. ITEMS products alike are one dispatch, neighbors in z: operands and results of
// the next one lie ITEM_A, ITEM_B and ITEM_OUT elements behind.
#import "lib/gemm_shape.wgsl"
#import "lib/gemm_out.wgsl"

@group(0) @binding(1) var<storage, read> a: array<StoredA>; // (M, K), with TRANS_A (K, M)
@group(0) @binding(2) var<storage, read> b: array<StoredB>; // (K, N), with TRANS_B (N, K)

// Known when the pipeline is made, so that whole tiles are loaded without asking.
override WHOLE_M: bool = M % 128u == 0u;
override WHOLE_N: bool = N % 128u == 0u;
override WHOLE_K: bool = K % 32u == 0u;

// Rows row .. row + 3 of op(a) at column k.
fn a_quad(row: u32, k: u32) -> vec4<StoredA> {
  let at = product * ITEM_A + select(row * K + k, k * M + row, TRANS_A);
  let stride = select(K, 1u, TRANS_A);
  if ((WHOLE_M && WHOLE_K) || (row + 3u < M && k < K)) {
    return vec4<StoredA>(a[at], a[at + stride], a[at + 2u * stride], a[at + 3u * stride]);
  }
  var quad = vec4<StoredA>();
  if (k < K) {
    if (row < M) { quad.x = a[at]; }
    if (row + 1u < M) { quad.y = a[at + stride]; }
    if (row + 2u < M) { quad.z = a[at + 2u * stride]; }
  }
  return quad;
}

// Columns column .. column + 3 of op(b) at row k.
fn b_quad(k: u32, column: u32) -> vec4<StoredB> {
  let at = product * ITEM_B + select(k * N + column, column * K + k, TRANS_B);
  let stride = select(1u, K, TRANS_B);
  if ((WHOLE_N && WHOLE_K) || (column + 3u < N && k < K)) {
    return vec4<StoredB>(b[at], b[at + stride], b[at + 2u * stride], b[at + 3u * stride]);
  }
  var quad = vec4<StoredB>();
  if (k < K) {
    if (column < N) { quad.x = b[at]; }
    if (column + 1u < N) { quad.y = b[at + stride]; }
    if (column + 2u < N) { quad.z = b[at + 2u * stride]; }
  }
  return quad;
}
