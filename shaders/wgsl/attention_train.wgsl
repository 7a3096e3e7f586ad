// Causal attention over whole sequences with an online softmax, see lib/attention_tile.wgsl; `lse`
// keeps logsumexp of the scores for the backward. One workgroup per 32 queries of a head of a
// sequence, and 64 columns of the head in z.
#import "lib/attention_queries.wgsl"

@group(0) @binding(0) var<storage, read> q: array<f32>;         // (BATCH, SEQ, HEADS, HEAD_DIM)
@group(0) @binding(1) var<storage, read> k: array<f32>;         // (BATCH, SEQ, KV_HEADS, HEAD_DIM)
@group(0) @binding(2) var<storage, read> v: array<f32>;         // (BATCH, SEQ, KV_HEADS, HEAD_DIM)
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (BATCH, SEQ, HEADS, HEAD_DIM)
@group(0) @binding(4) var<storage, read_write> lse: array<f32>; // (BATCH, HEADS, SEQ)

var<workgroup> lane_values: array<vec4<f32>, 64>; // (QUADS of rows, QUADS of columns)

fn row_element(which: u32, t: u32, d: u32) -> f32 {
  if (t >= SEQ) {
    return 0.0;
  }
  return q[q_start + t * HEADS * HEAD_DIM + d];
}

fn column_element(which: u32, t: u32, d: u32) -> f32 {
  if (t >= SEQ) {
    return 0.0;
  }
  return k[kv_start + t * KV_HEADS * HEAD_DIM + d];
}

fn value_element(t: u32, d: u32) -> f32 {
  if (t >= SEQ || d >= HEAD_DIM) {
    return 0.0;
  }
  return v[kv_start + t * KV_HEADS * HEAD_DIM + d];
}

// Maxima and sums over the eight invocations that share four rows.
fn row_max(lane: u32, value: vec4<f32>) -> vec4<f32> {
  workgroupBarrier();
  lane_values[lane] = value;
  workgroupBarrier();
  let first = lane / QUADS * QUADS;
  var largest = lane_values[first];
  for (var i = 1u; i < QUADS; i++) {
    largest = max(largest, lane_values[first + i]);
  }
  return largest;
}

fn row_sum(lane: u32, value: vec4<f32>) -> vec4<f32> {
  workgroupBarrier();
  lane_values[lane] = value;
  workgroupBarrier();
  let first = lane / QUADS * QUADS;
  var sum = lane_values[first];
  for (var i = 1u; i < QUADS; i++) {
    sum += lane_values[first + i];
  }
  return sum;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let own = own_queries(workgroup, grid);
  if (own.batch >= BATCH) {
    return;
  }

  let row = own.first_row + 4u * (lane / QUADS);
  let rows = vec4<u32>(row, row + 1u, row + 2u, row + 3u);
  let starts = document_starts(own.batch, row);
  var maximum = vec4<f32>(LOWEST);
  var total = vec4<f32>();
  var results: Results;
  for (var column = oldest_tile(own.batch, own.first_row); column <= own.first_row; column += TILE) {
    let scores = scores_of(tile_product(0u, own.first_row, column, lane));
    let c = vec4<u32>(column + 4u * (lane % QUADS));
    let live0 = seen(c, rows, starts);
    let live1 = seen(c + 1u, rows, starts);
    let live2 = seen(c + 2u, rows, starts);
    let live3 = seen(c + 3u, rows, starts);
    let none = vec4<f32>(LOWEST);
    let largest = max(max(select(none, scores[0], live0), select(none, scores[1], live1)), max(select(none, scores[2], live2), select(none, scores[3], live3)));
    let new_maximum = max(maximum, row_max(lane, largest));
    let correction = shrink(maximum - new_maximum);
    maximum = new_maximum;
    let zero = vec4<f32>();
    let p = mat4x4<f32>(
      select(zero, shrink(scores[0] - maximum), live0),
      select(zero, shrink(scores[1] - maximum), live1),
      select(zero, shrink(scores[2] - maximum), live2),
      select(zero, shrink(scores[3] - maximum), live3));
    total = total * correction + row_sum(lane, p[0] + p[1] + p[2] + p[3]);
    results.low = scale_rows(results.low, correction);
    results.high = scale_rows(results.high, correction);
    add_products(&results, p, column, own.block, lane);
  }
  let share = 1.0 / total;
  store_results(scale_rows(results.low, share), scale_rows(results.high, share), row, own.block, lane);
  if (workgroup.z == 0u && lane % QUADS == 0u) {
    let at = (own.batch * HEADS + own.head) * SEQ + row;
    let row_lse = maximum + log(total);
    if (row < SEQ) { lse[at] = row_lse.x; }
    if (row + 1u < SEQ) { lse[at + 1u] = row_lse.y; }
    if (row + 2u < SEQ) { lse[at + 2u] = row_lse.z; }
    if (row + 3u < SEQ) { lse[at + 3u] = row_lse.w; }
  }
}
