// What attention's forward and the gradient of its queries share: a workgroup owns queries and
// writes `out`, laid out like them, which the operation declares.
#import "lib/attention_tile.wgsl"

fn own_queries(workgroup: vec3<u32>, grid: vec3<u32>) -> Tile {
  let own = own_tile(workgroup, grid, HEADS);
  q_start = head_start(own.batch, own.head, HEADS);
  kv_start = head_start(own.batch, own.head / (HEADS / KV_HEADS), KV_HEADS);
  return own;
}

fn store(t: u32, d: u32, value: f32) {
  if (t < SEQ) {
    out[q_start + t * HEADS * HEAD_DIM + d] = value;
  }
}
