// out = act(gate) · up, or act(gate) without UP; all (ROWS, DIM). One invocation per element.
// ALIAS: `out` holds the gate (1) or the up projection (2) on entry, and that binding is not read.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(1) var<storage, read> gate: array<f32>;      // (ROWS, DIM)
@group(0) @binding(2) var<storage, read> up: array<f32>;        // (ROWS, DIM)
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (ROWS, DIM)

override DIM: u32;
override ACTIVATION: u32;
override UP: bool;
override ALIAS: u32;

const GELU: u32 = 0u;
const SILU: u32 = 1u;
const RELU2: u32 = 2u;
const ALIAS_NONE: u32 = 0u;
const ALIAS_GATE: u32 = 1u;
const ALIAS_UP: u32 = 2u;

// Arguments are clamped where the function has saturated, so that nothing overflows.
fn act(x: f32) -> f32 {
  switch (ACTIVATION) {
    case GELU: {
      // Tanh form; beyond ±15 tanh is ±1 in f32.
      let bounded = clamp(x, -30.0, 30.0);
      let inner = 0.7978845608 * (bounded + 0.044715 * bounded * bounded * bounded);
      return 0.5 * x * (1.0 + tanh(clamp(inner, -15.0, 15.0)));
    }
    case SILU: {
      return x / (1.0 + exp(min(-x, 87.0)));
    }
    default: {
      let positive = clamp(x, 0.0, 1e18);
      return positive * positive;
    }
  }
}

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
