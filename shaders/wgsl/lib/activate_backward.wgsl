// Backward of out = act(gate) · up (or act(gate) without UP), all (LEN): dgate = dout · up ·
// act'(gate), dup = dout · act(gate). One invocation per element.
#import "lib/grid.wgsl"
#import "lib/activation.wgsl"

@group(0) @binding(1) var<storage, read> gate: array<f32>;         // (LEN)
@group(0) @binding(2) var<storage, read> up: array<f32>;           // (LEN); not read without UP
@group(0) @binding(3) var<storage, read> dout: array<f32>;         // (LEN)
@group(0) @binding(4) var<storage, read_write> dgate: array<Kept>; // (LEN)
@group(0) @binding(5) var<storage, read_write> dup: array<Kept>;   // (LEN); not written without UP

override LEN: u32;
override UP: bool;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flat_workgroup(workgroup, grid) * 64u + lane;
  if (i >= LEN) {
    return;
  }
  let g = gate[i];
  var d = dout[i] * act_gradient(g);
  if (UP) {
    dup[i] = kept_gradient(dout[i] * act(g));
    d *= up[i];
  }
  dgate[i] = kept_gradient(d);
}
