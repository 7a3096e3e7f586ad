// From the gradient of the products x·xᵀ of every head to that of x (BATCH·SEQ, HEADS·DIM):
// dx[i] += Σ_j (scores[i, j] + scores[j, i]) · x[j] in each sequence. One invocation per element of
// dx.
#import "lib/grid.wgsl"

@group(0) @binding(1) var<storage, read> x: array<f32>;         // (BATCH·SEQ, HEADS·DIM)
@group(0) @binding(2) var<storage, read> scores: array<f32>;    // (BATCH, HEADS, SEQ, SEQ)
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;  // (BATCH·SEQ, HEADS·DIM)

override BATCH: u32;
override SEQ: u32;
override HEADS: u32;
override DIM: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let at = flat_workgroup(workgroup, grid) * 64u + lane;
  let width = HEADS * DIM;
  if (at >= BATCH * SEQ * width) {
    return;
  }
  let row = at / width;
  let column = at % width;
  let batch = row / SEQ;
  let i = row % SEQ;
  let base = (batch * HEADS + column / DIM) * SEQ * SEQ;
  var sum = 0.0;
  for (var j = 0u; j < SEQ; j++) {
    let score = scores[base + i * SEQ + j] + scores[base + j * SEQ + i];
    sum += score * x[(batch * SEQ + j) * width + column];
  }
  dx[at] += sum;
}
