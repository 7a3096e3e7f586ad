// y = Σ scale·w·x for many token rows of floats. A workgroup computes a tile of 64 token rows × 64
// weight rows in steps of 16 columns, with weights expanded once to f32 in workgroup memory; an
// invocation computes 4 × 4 results, 16 apart.
#import "lib/linear.wgsl"
#import "lib/float_input.wgsl"

const GEMM_TILE: u32 = 64u;
const STEP_WORDS: u32 = 4u;
// One word more than the tile: column-wise stores meet different banks.
const TILE_STRIDE: u32 = 65u;

var<workgroup> weight_tile: array<f32, 1040>; // (16, TILE_STRIDE)
var<workgroup> input_tile: array<f32, 1040>;  // (16, TILE_STRIDE)

fn store4(r: u32, row: u32, y: vec4<f32>) {
  if (r < active_rows()) {
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

  // What this invocation brings in: four columns of one row of each operand.
  let load_row = lane / 4u;
  let load_word = lane % 4u;
  let weight_row = min(first_row + load_row, WEIGHT_ROWS - 1u);
  let input_row = min(first_r + load_row, ROWS - 1u);

  var sums0 = vec4<f32>();
  var sums1 = vec4<f32>();
  var sums2 = vec4<f32>();
  var sums3 = vec4<f32>();
  for (var step = 0u; step < WORDS; step += STEP_WORDS) {
    workgroupBarrier();
    let word = step + load_word;
    let w = weight_quad(weight_row, word) * weight_scale(FIRST_ROW + weight_row, 4u * word);
    let x = input_quad(input_row, word);
    let at = 4u * load_word * TILE_STRIDE + load_row;
    weight_tile[at] = w.x;
    weight_tile[at + TILE_STRIDE] = w.y;
    weight_tile[at + 2u * TILE_STRIDE] = w.z;
    weight_tile[at + 3u * TILE_STRIDE] = w.w;
    input_tile[at] = x.x;
    input_tile[at + TILE_STRIDE] = x.y;
    input_tile[at + 2u * TILE_STRIDE] = x.z;
    input_tile[at + 3u * TILE_STRIDE] = x.w;
    workgroupBarrier();
    for (var col = 0u; col < 4u * STEP_WORDS; col++) {
      let wi = col * TILE_STRIDE + local.x;
      let ws = vec4<f32>(weight_tile[wi], weight_tile[wi + 16u], weight_tile[wi + 32u], weight_tile[wi + 48u]);
      let xi = col * TILE_STRIDE + local.y;
      sums0 += input_tile[xi] * ws;
      sums1 += input_tile[xi + 16u] * ws;
      sums2 += input_tile[xi + 32u] * ws;
      sums3 += input_tile[xi + 48u] * ws;
    }
  }
  let row = first_row + local.x;
  let r = first_r + local.y;
  store4(r, row, sums0);
  store4(r + 16u, row, sums1);
  store4(r + 32u, row, sums2);
  store4(r + 48u, row, sums3);
}
