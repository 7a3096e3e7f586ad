// Append k and v (ROWS, KV_DIM) to caches of binary16, where their positions are; KV_DIM is even.
// One invocation per pair of elements.
#import "lib/places.wgsl"
#import "lib/grid.wgsl"
#import "lib/half.wgsl"

@group(0) @binding(1) var<storage, read> k: array<f32>;             // (ROWS, KV_DIM)
@group(0) @binding(2) var<storage, read> v: array<f32>;             // (ROWS, KV_DIM)
@group(0) @binding(3) var<storage, read_write> cache_k: array<u32>; // (MAX_SEQ, KV_DIM / 2)
@group(0) @binding(4) var<storage, read_write> cache_v: array<u32>; // (MAX_SEQ, KV_DIM / 2)

override KV_DIM: u32;
override MAX_SEQ: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let pair = flat_workgroup(workgroup, grid) * 64u + lane;
  let i = 2u * pair;
  let r = i / KV_DIM;
  if (r >= active_rows()) {
    return;
  }
  let row = cached_row(r, row_position(r, ROWS));
  if (row < MAX_SEQ) {
    let at = row * (KV_DIM / 2u) + pair % (KV_DIM / 2u);
    cache_k[at] = to_halves(k[i], k[i + 1u]);
    cache_v[at] = to_halves(v[i], v[i + 1u]);
  }
}
