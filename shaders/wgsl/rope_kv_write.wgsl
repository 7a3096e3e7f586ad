// Three operations in one: rotary positions on q in place, rotated k and plain v to the caches from row pos on.
// One invocation per pair of elements of q, k and v of a row, in that order; k itself stays as it is.
#import "lib/rope.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(2) var<storage, read_write> q: array<f32>;       // (ROWS, HEADS, HEAD_DIM)
@group(0) @binding(3) var<storage, read> k: array<f32>;             // (ROWS, KV_HEADS, HEAD_DIM)
@group(0) @binding(4) var<storage, read> v: array<f32>;             // (ROWS, KV_HEADS, HEAD_DIM)
@group(0) @binding(5) var<storage, read_write> cache_k: array<f32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM)
@group(0) @binding(6) var<storage, read_write> cache_v: array<f32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM)

override HEADS: u32;
override KV_HEADS: u32;
override MAX_SEQ: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let half = HEAD_DIM / 2u;
  let item = flat_workgroup(workgroup, grid) * 64u + lane;
  let heads = HEADS + 2u * KV_HEADS;
  let r = item / (heads * half);
  if (r >= active_rows()) {
    return;
  }
  let head = item / half % heads;
  let i = item % half;
  if (head < HEADS) {
    let at = (r * HEADS + head) * HEAD_DIM + i;
    let turned = rotate(vec2<f32>(q[at], q[at + half]), r, i);
    q[at] = turned.x;
    q[at + half] = turned.y;
    return;
  }
  let position = knobs.pos + r;
  if (position >= MAX_SEQ) {
    return;
  }
  let kv_head = (head - HEADS) % KV_HEADS;
  let at = (r * KV_HEADS + kv_head) * HEAD_DIM + i;
  let cached = (position * KV_HEADS + kv_head) * HEAD_DIM + i;
  if (head < HEADS + KV_HEADS) {
    let turned = rotate(vec2<f32>(k[at], k[at + half]), r, i);
    cache_k[cached] = turned.x;
    cache_k[cached + half] = turned.y;
  } else {
    cache_v[cached] = v[at];
    cache_v[cached + half] = v[at + half];
  }
}
