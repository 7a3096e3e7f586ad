// Gradient of the queries: dq = SCALE · ds·k, see lib/attention_backward.wgsl.
// One workgroup per 32 queries of a head of a sequence, and 64 columns of the head in z.
#import "lib/attention_backward.wgsl"
#import "lib/attention_queries.wgsl"

@group(0) @binding(8) var<storage, read_write> out: array<f32>; // dq (BATCH, SEQ, HEADS, HEAD_DIM)

fn row_element(which: u32, t: u32, d: u32) -> f32 {
  return query_side(which, t, d);
}

fn column_element(which: u32, t: u32, d: u32) -> f32 {
  return key_side(which, t, d);
}

fn value_element(t: u32, d: u32) -> f32 {
  return key_side(SCORES, t, d);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let own = own_queries(workgroup, grid);
  if (own.batch >= BATCH) {
    return;
  }
  stats_start = (own.batch * HEADS + own.head) * SEQ;

  let row = own.first_row + 4u * (lane / QUADS);
  let queries = vec4<u32>(row, row + 1u, row + 2u, row + 3u);
  let starts = document_starts(own.batch, row);
  let row_lse = vec4<f32>(lse_at(row), lse_at(row + 1u), lse_at(row + 2u), lse_at(row + 3u));
  let row_delta = vec4<f32>(delta_at(row), delta_at(row + 1u), delta_at(row + 2u), delta_at(row + 3u));
  var results: Results;
  for (var column = oldest_tile(own.batch, own.first_row); column <= own.first_row; column += TILE) {
    let scores = scores_of(tile_product(SCORES, own.first_row, column, lane));
    let dp = tile_product(WEIGHT_GRADS, own.first_row, column, lane);
    let key = vec4<u32>(column + 4u * (lane % QUADS));
    let ds = mat4x4<f32>(
      weights_of(scores[0], row_lse, key, queries, starts) * (dp[0] - row_delta) * slope(scores[0]),
      weights_of(scores[1], row_lse, key + 1u, queries, starts) * (dp[1] - row_delta) * slope(scores[1]),
      weights_of(scores[2], row_lse, key + 2u, queries, starts) * (dp[2] - row_delta) * slope(scores[2]),
      weights_of(scores[3], row_lse, key + 3u, queries, starts) * (dp[3] - row_delta) * slope(scores[3]));
    add_products(&results, SCALE * ds, column, own.block, lane);
  }
  store_results(results.low, results.high, row, own.block, lane);
}
