// Table look-up: out[r] = SCALE · table[ids[r]]. One invocation writes four columns; a table bound
// in parts is looked up once per part, each writing the rows it holds. Ids past the table read its
// last row.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(3) var<storage, read> ids: array<u32>;        // (ROWS)
@group(0) @binding(4) var<storage, read_write> out: array<f32>;  // (ROWS, IN_DIM)

override SCALE: f32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let quads = (IN_DIM + 3u) / 4u;
  let item = flat_workgroup(workgroup, grid) * 64u + lane;
  let r = item / quads;
  let quad = item % quads;
  if (r >= active_rows()) {
    return;
  }
  let row = min(ids[r], OUT_DIM - 1u);
  if (row < FIRST_ROW || row >= FIRST_ROW + WEIGHT_ROWS) {
    return;
  }
  let col = 4u * quad;
  let values = weight_quad(row - FIRST_ROW, quad) * weight_scale(row, col) * SCALE;
  let at = r * IN_DIM + col;
  out[at] = values.x;
  if (col + 1u < IN_DIM) { out[at + 1u] = values.y; }
  if (col + 2u < IN_DIM) { out[at + 2u] = values.z; }
  if (col + 3u < IN_DIM) { out[at + 3u] = values.w; }
}
