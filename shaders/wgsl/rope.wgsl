// Rotary positions, rotate-half, in place on x (ROWS, HEADS·HEAD_DIM); row r stands at position pos + r % SEQ.
// One invocation per pair of elements. INVERSE rotates back.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(1) var<storage, read> angles: array<f32>;  // (max_positions, HEAD_DIM): cosines, then sines
@group(0) @binding(2) var<storage, read_write> x: array<f32>; // (ROWS, HEADS, HEAD_DIM)

override SEQ: u32;
override HEADS: u32;
override HEAD_DIM: u32;
override INVERSE: bool;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let half = HEAD_DIM / 2u;
  let pair = flat_workgroup(workgroup, grid) * 64u + lane;
  let r = pair / (HEADS * half);
  if (r >= active_rows()) {
    return;
  }
  let i = pair % half;
  let angle = (knobs.pos + r % SEQ) * HEAD_DIM + i;
  let cosine = angles[angle];
  let sine = select(angles[angle + half], -angles[angle + half], INVERSE);
  let at = pair / half * HEAD_DIM + i;
  let a = x[at];
  let b = x[at + half];
  x[at] = a * cosine - b * sine;
  x[at + half] = b * cosine + a * sine;
}
