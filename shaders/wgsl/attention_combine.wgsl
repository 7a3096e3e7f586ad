// Joins the splits of attention.wgsl: out = Σ_s e^(m_s − m)·values_s / Σ_s e^(m_s − m)·sum_s with m
// = max m_s; a split without keys has sum 0. One workgroup per (row, head), an invocation per
// column.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(1) var<storage, read> parts: array<f32>;     // (ROWS, HEADS, SPLITS, HEAD_DIM + 2)
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // (ROWS, HEADS, HEAD_DIM)

override HEADS: u32;
override HEAD_DIM: u32;
override SPLITS: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row_head = flat_workgroup(workgroup, grid);
  if (row_head / HEADS >= active_rows()) {
    return;
  }
  let base = row_head * SPLITS * (HEAD_DIM + 2u);
  var maximum = parts[base + HEAD_DIM];
  for (var s = 1u; s < SPLITS; s++) {
    maximum = max(maximum, parts[base + s * (HEAD_DIM + 2u) + HEAD_DIM]);
  }
  for (var d = lane; d < HEAD_DIM; d += 64u) {
    var value = 0.0;
    var total = 0.0;
    for (var s = 0u; s < SPLITS; s++) {
      let part = base + s * (HEAD_DIM + 2u);
      let weight = exp(max(parts[part + HEAD_DIM] - maximum, -87.0));
      value += weight * parts[part + d];
      total += weight * parts[part + HEAD_DIM + 1u];
    }
    out[row_head * HEAD_DIM + d] = value / total;
  }
}
