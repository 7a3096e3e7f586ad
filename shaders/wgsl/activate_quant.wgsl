// Two operations in one: act(gate) · up (ROWS, DIM) to int8, RMS-normalized first with NORM. One
// workgroup per row.
#import "lib/quant_row.wgsl"
#import "lib/activation.wgsl"

@group(0) @binding(4) var<storage, read> gate: array<f32>; // (ROWS, DIM)
@group(0) @binding(5) var<storage, read> up: array<f32>;   // (ROWS, DIM); not read without UP

override UP: bool;

fn value(i: u32) -> f32 {
  if (UP) {
    return act(gate[i]) * up[i];
  }
  return act(gate[i]);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  if (workgroup.x < active_rows()) {
    quantize_row(workgroup.x, lane);
  }
}
