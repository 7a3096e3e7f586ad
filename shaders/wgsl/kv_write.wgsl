// Append k and v (ROWS, KV_DIM) to the caches, where their positions are. One invocation per
// element.
#import "lib/places.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(1) var<storage, read> k: array<f32>;             // (ROWS, KV_DIM)
@group(0) @binding(2) var<storage, read> v: array<f32>;             // (ROWS, KV_DIM)
@group(0) @binding(3) var<storage, read_write> cache_k: array<f32>; // (MAX_SEQ, KV_DIM)
@group(0) @binding(4) var<storage, read_write> cache_v: array<f32>; // (MAX_SEQ, KV_DIM)

override KV_DIM: u32;
override MAX_SEQ: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  let r = i / KV_DIM;
  if (r >= active_rows()) {
    return;
  }
  let row = cached_row(r, row_position(r, ROWS));
  if (row < MAX_SEQ) {
    let at = row * KV_DIM + i % KV_DIM;
    cache_k[at] = k[i];
    cache_v[at] = v[i];
  }
}
