// y = x_scale · Σ_group scale · Σ code·x for many token rows: integer sums, exact. A workgroup
// computes a tile of 64 token rows × 64 weight rows in steps of STEP_WORDS words of four columns,
// which it first expands in workgroup memory; an invocation computes 4 × 4 results, 16 apart, so
// that neighbors touch neighboring words. The operation says what a Word is there and how words are
// multiplied: lib/byte_products.wgsl, lib/half_products.wgsl or lib/wide_half_products.wgsl.
#import "lib/linear.wgsl"
#import "lib/int8_input.wgsl"

const GEMM_TILE: u32 = 64u;
// One word more than the tile: column-wise stores meet different banks.
const TILE_STRIDE: u32 = 65u;
// Words of a row of each operand that an invocation brings in; four of them share a row.
const LOAD_WORDS: u32 = STEP_WORDS / 4u;

var<workgroup> weight_tile: array<Word, STEP_WORDS * TILE_STRIDE>; // (STEP_WORDS, TILE_STRIDE)
var<workgroup> code_tile: array<Word, STEP_WORDS * TILE_STRIDE>;   // (STEP_WORDS, TILE_STRIDE)

fn scales4(row: u32, col: u32) -> vec4<f32> {
  let first = FIRST_ROW + row;
  return vec4<f32>(weight_scale(first, col), weight_scale(first + 16u, col), weight_scale(first + 32u, col), weight_scale(first + 48u, col));
}

fn store4(r: u32, row: u32, sums: vec4<f32>) {
  if (r < active_rows()) {
    let y = sums * row_scales[r];
    store(r, row, y.x);
    store(r, row + 16u, y.y);
    store(r, row + 32u, y.z);
    store(r, row + 48u, y.w);
  }
}

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first_r = workgroup.y * GEMM_TILE;
  if (first_r >= active_rows()) {
    return;
  }
  let first_row = workgroup.x * GEMM_TILE;

  let load_row = lane / 4u;
  let load_word = lane % 4u * LOAD_WORDS;
  let weight_row = min(first_row + load_row, WEIGHT_ROWS - 1u);
  let code_row = min(first_r + load_row, ROWS - 1u) * CODE_STRIDE;

  var exact0 = vec4<i32>();
  var exact1 = vec4<i32>();
  var exact2 = vec4<i32>();
  var exact3 = vec4<i32>();
  var scaled0 = vec4<f32>();
  var scaled1 = vec4<f32>();
  var scaled2 = vec4<f32>();
  var scaled3 = vec4<f32>();
  for (var step = 0u; step < WORDS; step += STEP_WORDS) {
    workgroupBarrier();
    let x = codes[code_row + (step + load_word) / 4u];
    for (var i = 0u; i < LOAD_WORDS; i++) {
      let at = (load_word + i) * TILE_STRIDE + load_row;
      code_tile[at] = expand(x[load_word % 4u + i]);
      weight_tile[at] = expand(weight_word(weight_row, step + load_word + i));
    }
    workgroupBarrier();
    for (var block = 0u; block < STEP_WORDS; block += 8u) {
      var sums0 = begin(exact0);
      var sums1 = begin(exact1);
      var sums2 = begin(exact2);
      var sums3 = begin(exact3);
      for (var word = block; word < block + 8u; word++) {
        let wi = word * TILE_STRIDE + local.x;
        let w = Words(weight_tile[wi], weight_tile[wi + 16u], weight_tile[wi + 32u], weight_tile[wi + 48u]);
        let xi = word * TILE_STRIDE + local.y;
        sums0 = add(sums0, code_tile[xi], w);
        sums1 = add(sums1, code_tile[xi + 16u], w);
        sums2 = add(sums2, code_tile[xi + 32u], w);
        sums3 = add(sums3, code_tile[xi + 48u], w);
      }
      exact0 = end(exact0, sums0);
      exact1 = end(exact1, sums1);
      exact2 = end(exact2, sums2);
      exact3 = end(exact3, sums3);
      if (GROUPED) {
        let s = scales4(first_row + local.x, 4u * (step + block));
        scaled0 += vec4<f32>(exact0) * s;
        scaled1 += vec4<f32>(exact1) * s;
        scaled2 += vec4<f32>(exact2) * s;
        scaled3 += vec4<f32>(exact3) * s;
        exact0 = vec4<i32>();
        exact1 = vec4<i32>();
        exact2 = vec4<i32>();
        exact3 = vec4<i32>();
      }
    }
  }
  let row = first_row + local.x;
  if (!GROUPED) {
    let s = scales4(row, 0u);
    scaled0 = vec4<f32>(exact0) * s;
    scaled1 = vec4<f32>(exact1) * s;
    scaled2 = vec4<f32>(exact2) * s;
    scaled3 = vec4<f32>(exact3) * s;
  }
  let r = first_r + local.y;
  store4(r, row, scaled0);
  store4(r + 16u, row, scaled1);
  store4(r + 32u, row, scaled2);
  store4(r + 48u, row, scaled3);
}
