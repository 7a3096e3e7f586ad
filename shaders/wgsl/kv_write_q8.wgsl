// Append k and v (ROWS, KV_HEADS, HEAD_DIM) to caches of int8, where their positions are, see
// lib/head_codes.wgsl. One workgroup per head of k and of v.
#import "lib/places.wgsl"
#import "lib/grid.wgsl"
#import "lib/head_codes.wgsl"

@group(0) @binding(1) var<storage, read> k: array<f32>;             // (ROWS, KV_HEADS, HEAD_DIM)
@group(0) @binding(2) var<storage, read> v: array<f32>;             // (ROWS, KV_HEADS, HEAD_DIM)
@group(0) @binding(3) var<storage, read_write> cache_k: array<u32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM / 4 + 1)
@group(0) @binding(4) var<storage, read_write> cache_v: array<u32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM / 4 + 1)

const REDUCE_LANES: u32 = 64u;

override KV_HEADS: u32;
override HEAD_DIM: u32;
override MAX_SEQ: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let item = flat_workgroup(workgroup, grid);
  let is_key = item % 2u == 0u;
  let head = item / 2u; // of all rows
  let r = head / KV_HEADS;
  if (r >= active_rows()) {
    return;
  }
  let row = cached_row(r, row_position(r, ROWS));
  if (row >= MAX_SEQ) {
    return;
  }
  for (var i = lane; i < HEAD_DIM; i += REDUCE_LANES) {
    let at = head * HEAD_DIM + i;
    if (is_key) {
      kept[i] = k[at];
    } else {
      kept[i] = v[at];
    }
  }
  workgroupBarrier();
  let scale = head_scale(lane);
  let first = (row * KV_HEADS + head % KV_HEADS) * (HEAD_DIM / 4u + 1u);
  for (var word = lane; word <= HEAD_DIM / 4u; word += REDUCE_LANES) {
    if (is_key) {
      cache_k[first + word] = head_word(word, scale);
    } else {
      cache_v[first + word] = head_word(word, scale);
    }
  }
}
