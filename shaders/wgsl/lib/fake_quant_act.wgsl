// int8 quantization and de-quantization of every row of x (ROWS, DIM): scale = max(max|x|, 1e-5) /
// 127, out = round_half_even(x / scale) · scale. One workgroup per row.
#import "lib/grid.wgsl"
#import "lib/reduce.wgsl"

@group(0) @binding(1) var<storage, read> x: array<f32>;          // (ROWS, DIM)
@group(0) @binding(2) var<storage, read_write> out: array<Kept>; // (ROWS, DIM)

const REDUCE_LANES: u32 = 64u;

override ROWS: u32;
override DIM: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let r = flat_workgroup(workgroup, grid);
  if (r >= ROWS) {
    return;
  }
  let base = r * DIM;
  var largest = 0.0;
  for (var i = lane; i < DIM; i += REDUCE_LANES) {
    largest = max(largest, abs(x[base + i]));
  }
  let scale = max(reduce_max(lane, largest), 1e-5) / 127.0;
  for (var i = lane; i < DIM; i += REDUCE_LANES) {
    out[base + i] = kept(round(x[base + i] / scale) * scale);
  }
}
