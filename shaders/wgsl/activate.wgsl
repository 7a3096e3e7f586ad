// out = act(gate) · up, or act(gate) without UP; all (ROWS, DIM). One invocation per element.
// ALIAS: `out` holds the gate (1) or the up projection (2) on entry, and that binding is not read.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"
#import "lib/activation.wgsl"

@group(0) @binding(1) var<storage, read> gate: array<f32>;      // (ROWS, DIM)
@group(0) @binding(2) var<storage, read> up: array<f32>;        // (ROWS, DIM)
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (ROWS, DIM)

override DIM: u32;
override UP: bool;
override ALIAS: u32;

const ALIAS_NONE: u32 = 0u;
const ALIAS_GATE: u32 = 1u;
const ALIAS_UP: u32 = 2u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  if (i >= active_rows() * DIM) {
    return;
  }
  var g: f32;
  if (ALIAS == ALIAS_GATE) {
    g = out[i];
  } else {
    g = gate[i];
  }
  var value = act(g);
  if (UP) {
    if (ALIAS == ALIAS_UP) {
      value *= out[i];
    } else {
      value *= up[i];
    }
  }
  out[i] = value;
}
