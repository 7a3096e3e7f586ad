// RMSNorm: y = x / sqrt(mean(x²) + EPS) · weight over each DIM-wide group of x (ROWS, GROUPS·DIM),
// and the factor 1 / sqrt(…) itself where KEEP_RSTD. One workgroup per group. IN_PLACE: the input
// is `out`, and `x` is not read.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"
#import "lib/row_norm.wgsl"

@group(0) @binding(1) var<storage, read> x: array<f32>;          // (ROWS, GROUPS, DIM)
@group(0) @binding(2) var<storage, read> weight: array<f32>;     // (DIM)
@group(0) @binding(3) var<storage, read_write> out: array<f32>;  // (ROWS, GROUPS, DIM)
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>; // (ROWS, GROUPS)

const INVOCATIONS: u32 = 256u;

override GROUPS: u32;
override DIM: u32;
override IN_PLACE: bool;
override KEEP_RSTD: bool;

fn value(i: u32) -> f32 {
  if (IN_PLACE) {
    return out[i];
  }
  return x[i];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let group = flat_workgroup(workgroup, grid);
  if (group >= active_rows() * GROUPS) {
    return;
  }
  let base = group * DIM;
  let factor = row_factor(base, lane);
  for (var i = lane; i < DIM; i += INVOCATIONS) {
    out[base + i] = value(base + i) * factor * weight[i];
  }
  if (KEEP_RSTD && lane == 0u) {
    rstd[group] = factor;
  }
}
