// LayerNorm's first half: out = x − mean(x) of every row (ROWS, DIM); with ACCUMULATE added to what
// is there. One workgroup per row.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"
#import "lib/reduce.wgsl"

@group(0) @binding(1) var<storage, read> x: array<f32>;         // (ROWS, DIM)
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // (ROWS, DIM)

const REDUCE_LANES: u32 = 256u;

override DIM: u32;
override ACCUMULATE: bool;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = flat_workgroup(workgroup, grid);
  if (row >= active_rows()) {
    return;
  }
  let base = row * DIM;
  var sum = 0.0;
  for (var i = lane; i < DIM; i += REDUCE_LANES) {
    sum += x[base + i];
  }
  let mean = reduce_sum(lane, sum) / f32(DIM);
  for (var i = lane; i < DIM; i += REDUCE_LANES) {
    let centered = x[base + i] - mean;
    if (ACCUMULATE) {
      out[base + i] += centered;
    } else {
      out[base + i] = centered;
    }
  }
}
