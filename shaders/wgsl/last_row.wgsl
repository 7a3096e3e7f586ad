// out[0] = x[rows − 1]: the last valid row of x (ROWS, DIM). One invocation per column.
#import "lib/rows.wgsl"

@group(0) @binding(1) var<storage, read> x: array<f32>;         // (ROWS, DIM)
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // (1, DIM)

override DIM: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < DIM && active_rows() > 0u) {
    out[id.x] = x[(active_rows() - 1u) * DIM + id.x];
  }
}
