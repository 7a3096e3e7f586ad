// For the backward of attention: delta = Σ_d dout·out per (sequence, head, query), which is Σ p·dp
// (Dao et al. 2022). One invocation per query of a head.
#import "lib/grid.wgsl"

@group(0) @binding(0) var<storage, read> out: array<f32>;         // (BATCH, SEQ, HEADS, HEAD_DIM)
@group(0) @binding(1) var<storage, read> dout: array<f32>;        // (BATCH, SEQ, HEADS, HEAD_DIM)
@group(0) @binding(2) var<storage, read_write> delta: array<f32>; // (BATCH, HEADS, SEQ)

override BATCH: u32;
override SEQ: u32;
override HEADS: u32;
override HEAD_DIM: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let item = flat_workgroup(workgroup, grid) * 64u + lane;
  if (item >= BATCH * SEQ * HEADS) {
    return;
  }
  var sum = 0.0;
  for (var d = item * HEAD_DIM; d < (item + 1u) * HEAD_DIM; d++) {
    sum += dout[d] * out[d];
  }
  let row = item / HEADS;
  delta[(row / SEQ * HEADS + item % HEADS) * SEQ + row % SEQ] = sum;
}
