// Activations x (ROWS, DIM) to int8, RMS-normalized first with NORM. One workgroup per row.
#import "lib/quant_row.wgsl"

@group(0) @binding(4) var<storage, read> x: array<f32>; // (ROWS, DIM)

fn value(i: u32) -> f32 {
  return x[i];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  if (workgroup.x < active_rows()) {
    quantize_row(workgroup.x, lane);
  }
}
