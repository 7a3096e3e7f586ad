// Gradients of a key/value head, summed over the query heads that read it: dv = pᵀ·dout, or with
// KEYS dk = SCALE · dsᵀ·q, see lib/attention_backward.wgsl. One workgroup per 32 keys of a
// key/value head of a sequence, and 64 columns of the head in z.
#import "lib/attention_backward.wgsl"

@group(0) @binding(8) var<storage, read_write> dkv: array<Kept>; // (BATCH, SEQ, KV_HEADS, HEAD_DIM)

override KEYS: bool;

fn row_element(which: u32, t: u32, d: u32) -> f32 {
  return key_side(which, t, d);
}

fn column_element(which: u32, t: u32, d: u32) -> f32 {
  return query_side(which, t, d);
}

fn value_element(t: u32, d: u32) -> f32 {
  return query_side(select(WEIGHT_GRADS, SCORES, KEYS), t, d);
}

fn store(t: u32, d: u32, value: f32) {
  if (t < SEQ) {
    dkv[kv_start + t * KV_HEADS * HEAD_DIM + d] = kept_gradient(value);
  }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let own = own_tile(workgroup, grid, KV_HEADS);
  if (own.batch >= BATCH) {
    return;
  }
  kv_start = head_start(own.batch, own.head, KV_HEADS);

  // Later queries do not see the tile.
  let end = select(SEQ, min(SEQ, own.first_row + TILE + WINDOW), WINDOW > 0u);
  let row = own.first_row + 4u * (lane / QUADS);
  let keys = vec4<u32>(row, row + 1u, row + 2u, row + 3u);
  var results: Results;
  let share = HEADS / KV_HEADS;
  for (var i = 0u; i < share; i++) {
    let head = own.head * share + i;
    q_start = head_start(own.batch, head, HEADS);
    stats_start = (own.batch * HEADS + head) * SEQ;
    for (var column = own.first_row; column < end; column += TILE) {
      // Documents that begin behind the tile do not see it either.
      if (document_start(own.batch, column) >= own.first_row + TILE) {
        break;
      }
      let scores = scores_of(tile_product(SCORES, own.first_row, column, lane));
      let t = column + 4u * (lane % QUADS);
      let query = vec4<u32>(t);
      let starts = document_starts(own.batch, t);
      var weights = mat4x4<f32>(
        weights_of(scores[0], vec4<f32>(lse_at(t)), keys, query, vec4<u32>(starts.x)),
        weights_of(scores[1], vec4<f32>(lse_at(t + 1u)), keys, query + 1u, vec4<u32>(starts.y)),
        weights_of(scores[2], vec4<f32>(lse_at(t + 2u)), keys, query + 2u, vec4<u32>(starts.z)),
        weights_of(scores[3], vec4<f32>(lse_at(t + 3u)), keys, query + 3u, vec4<u32>(starts.w)));
      if (KEYS) {
        let dp = tile_product(WEIGHT_GRADS, own.first_row, column, lane);
        weights = SCALE * mat4x4<f32>(
          weights[0] * (dp[0] - delta_at(t)) * slope(scores[0]),
          weights[1] * (dp[1] - delta_at(t + 1u)) * slope(scores[1]),
          weights[2] * (dp[2] - delta_at(t + 2u)) * slope(scores[2]),
          weights[3] * (dp[3] - delta_at(t + 3u)) * slope(scores[3]));
      }
      add_products(&results, weights, column, own.block, lane);
    }
  }
  store_results(results.low, results.high, row, own.block, lane);
}
