// Gradient of RMSNorm's input: with x̂ = x·rstd and g = dy·weight, dx = rstd·(g − x̂·mean(g·x̂))
// over each DIM-wide group of x (ROWS, GROUPS·DIM); with ACCUMULATE added to dx. One workgroup per
// group.
#import "lib/grid.wgsl"
#import "lib/reduce.wgsl"

@group(0) @binding(0) var<storage, read> x: array<f32>;        // (ROWS, GROUPS, DIM)
@group(0) @binding(1) var<storage, read> weight: array<f32>;   // (DIM)
@group(0) @binding(2) var<storage, read> rstd: array<f32>;     // (ROWS, GROUPS)
@group(0) @binding(3) var<storage, read> dy: array<f32>;       // (ROWS, GROUPS, DIM)
@group(0) @binding(4) var<storage, read_write> dx: array<f32>; // (ROWS, GROUPS, DIM)

const REDUCE_LANES: u32 = 64u;

override ITEMS: u32; // ROWS·GROUPS
override DIM: u32;
override ACCUMULATE: bool;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let item = flat_workgroup(workgroup, grid);
  if (item >= ITEMS) {
    return;
  }
  let base = item * DIM;
  let factor = rstd[item];
  var sum = 0.0;
  for (var i = lane; i < DIM; i += REDUCE_LANES) {
    sum += dy[base + i] * weight[i] * (x[base + i] * factor);
  }
  let mean = reduce_sum(lane, sum) / f32(DIM);
  for (var i = lane; i < DIM; i += REDUCE_LANES) {
    let d = factor * (dy[base + i] * weight[i] - x[base + i] * factor * mean);
    if (ACCUMULATE) {
      dx[base + i] += d;
    } else {
      dx[base + i] = d;
    }
  }
}
