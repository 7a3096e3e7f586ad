// out[r] = x[picks[r]], rows of DIM. One invocation per element.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(1) var<storage, read> x: array<f32>;         // (…, DIM)
@group(0) @binding(2) var<storage, read> picks: array<u32>;     // (ROWS)
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (ROWS, DIM)

override DIM: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  let r = i / DIM;
  if (r < active_rows()) {
    out[i] = x[picks[r] * DIM + i % DIM];
  }
}
