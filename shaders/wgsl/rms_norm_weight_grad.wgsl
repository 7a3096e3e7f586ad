// Gradient of RMSNorm's weight, Σ dy·x·rstd over the items (rows and groups), in bands of BAND
// items that sum_parts.wgsl adds up in order. One workgroup per 64 columns and band; an invocation
// sums one column of it.
@group(0) @binding(0) var<storage, read> x: array<f32>;           // (ITEMS, DIM)
@group(0) @binding(1) var<storage, read> rstd: array<f32>;        // (ITEMS)
@group(0) @binding(2) var<storage, read> dy: array<f32>;          // (ITEMS, DIM)
@group(0) @binding(3) var<storage, read_write> parts: array<f32>; // (bands, DIM)

override ITEMS: u32;
override DIM: u32;
override BAND: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let column = workgroup.x * 64u + lane;
  if (column >= DIM) {
    return;
  }
  let first = workgroup.y * BAND;
  var sum = 0.0;
  for (var item = first; item < min(first + BAND, ITEMS); item++) {
    let at = item * DIM + column;
    sum += dy[at] * (x[at] * rstd[item]);
  }
  parts[workgroup.y * DIM + column] = sum;
}
