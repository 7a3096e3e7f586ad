// Gradient of a table look-up: dtable[ids[r]] += SCALE · dout[r], in the order of the rows and
// without atomics. One workgroup per row: that of an id's first row adds up all rows of the id, the
// others have nothing to do.
#import "lib/grid.wgsl"
#import "lib/reduce.wgsl"

@group(0) @binding(0) var<storage, read> ids: array<u32>;          // (ROWS)
@group(0) @binding(1) var<storage, read> dout: array<f32>;         // (ROWS, DIM)
@group(0) @binding(2) var<storage, read_write> dtable: array<f32>; // (VOCAB, DIM)

const REDUCE_LANES: u32 = 64u;

override ROWS: u32;
override DIM: u32;
override SCALE: f32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let r = flat_workgroup(workgroup, grid);
  if (r >= ROWS) {
    return;
  }
  let id = ids[r];
  var earlier = 0.0;
  for (var i = lane; i < r; i += REDUCE_LANES) {
    if (ids[i] == id) {
      earlier = 1.0;
    }
  }
  if (reduce_max(lane, earlier) > 0.0) {
    return;
  }
  for (var column = lane; column < DIM; column += REDUCE_LANES) {
    var sum = dtable[id * DIM + column];
    for (var i = r; i < ROWS; i++) {
      if (ids[i] == id) {
        sum += SCALE * dout[i * DIM + column];
      }
    }
    dtable[id * DIM + column] = sum;
  }
}
