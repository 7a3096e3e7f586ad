// Causal attention of row r of q over its sequence up to its position, the last WINDOW of them
// unless it is 0, by blocks of 128 keys with a running maximum (online softmax, Milakov &
// Gimelshein 2018), so the context may be any length. Query head h reads key/value head h / (HEADS
// / KV_HEADS); see lib/scores.wgsl. One workgroup per (row, head, split); a split is a stretch of
// the keys. With one split `out` is the result; with more it is what attention_combine.wgsl joins:
// per (row, head, split) the weighted values, the maximum and the sum. An invocation scores one key
// of the block, then adds up one column of the values. The operation declares the caches and
// supplies `key_element` and `value_element`; the form supplies `block_maximum`, the largest of all
// invocations' values, for everyone. Sums are joined alike in every form, once, so that all give
// the same bits.
#import "lib/places.wgsl"
#import "lib/grid.wgsl"
#import "lib/reduce.wgsl"
#import "lib/scores.wgsl"

@group(0) @binding(1) var<storage, read> q: array<f32>;         // (ROWS, HEADS, HEAD_DIM)
@group(0) @binding(4) var<storage, read_write> out: array<f32>; // (ROWS, HEADS, HEAD_DIM), or (ROWS, HEADS, SPLITS, HEAD_DIM + 2)

const REDUCE_LANES: u32 = 128u;

override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
override MAX_SEQ: u32;
override SPLITS: u32;

// Invocations left over by a narrow head add up other keys of the same column.
override SLICES: u32 = select(REDUCE_LANES / HEAD_DIM, 1u, HEAD_DIM > REDUCE_LANES);
override ACCUMULATORS: u32 = HEAD_DIM + REDUCE_LANES;

const LOWEST: f32 = -3e38;

var<workgroup> query: array<f32, ACCUMULATORS>;
var<workgroup> weights: array<f32, REDUCE_LANES>;
var<workgroup> sums: array<f32, ACCUMULATORS>; // (SLICES, HEAD_DIM)

fn attend(workgroup: vec3<u32>, grid: vec3<u32>, lane: u32) {
  let row_head = flat_workgroup(workgroup, grid);
  let r = row_head / HEADS;
  if (r >= active_rows()) {
    return;
  }
  let kv_head = row_head % HEADS / (HEADS / KV_HEADS);
  let keys = min(row_position(r, ROWS) + 1u, MAX_SEQ);
  let oldest = oldest_key(keys - 1u);
  let span = max(REDUCE_LANES, (keys - oldest + SPLITS - 1u) / SPLITS);
  let first = min(oldest + workgroup.z * span, keys);
  let end = min(first + span, keys);

  for (var d = lane; d < HEAD_DIM; d += REDUCE_LANES) {
    query[d] = q[row_head * HEAD_DIM + d] * SCALE;
  }
  for (var e = lane; e < SLICES * HEAD_DIM; e += REDUCE_LANES) {
    sums[e] = 0.0;
  }
  var maximum = LOWEST;
  // Of the keys that this invocation scored.
  var own_total = 0.0;
  for (var block = first; block < end; block += REDUCE_LANES) {
    workgroupBarrier();
    let count = min(REDUCE_LANES, end - block);
    var score = LOWEST;
    if (lane < count) {
      let at = (cached_row(r, block + lane) * KV_HEADS + kv_head) * HEAD_DIM;
      score = 0.0;
      for (var d = 0u; d < HEAD_DIM; d++) {
        score += query[d] * key_element(at + d);
      }
      score = capped(score);
    }
    let new_maximum = max(maximum, block_maximum(lane, score));
    // Differences are at most 0; below −87 the exponential is 0 in f32.
    let correction = exp(max(maximum - new_maximum, -87.0));
    maximum = new_maximum;
    var weight = 0.0;
    if (lane < count) {
      weight = exp(max(score - maximum, -87.0));
    }
    weights[lane] = weight;
    own_total = own_total * correction + weight;
    workgroupBarrier();
    for (var e = lane; e < SLICES * HEAD_DIM; e += REDUCE_LANES) {
      let column = kv_head * HEAD_DIM + e % HEAD_DIM;
      var sum = sums[e] * correction;
      for (var j = e / HEAD_DIM; j < count; j += SLICES) {
        sum += weights[j] * value_element(cached_row(r, block + j) * KV_HEADS * HEAD_DIM + column);
      }
      sums[e] = sum;
    }
  }
  let total = reduce_sum(lane, own_total);

  for (var d = lane; d < HEAD_DIM; d += REDUCE_LANES) {
    var sum = 0.0;
    for (var slice = 0u; slice < SLICES; slice++) {
      sum += sums[slice * HEAD_DIM + d];
    }
    if (SPLITS == 1u) {
      out[row_head * HEAD_DIM + d] = sum / total;
    } else {
      out[(row_head * SPLITS + workgroup.z) * (HEAD_DIM + 2u) + d] = sum;
    }
  }
  if (SPLITS > 1u && lane == 0u) {
    let at = (row_head * SPLITS + workgroup.z) * (HEAD_DIM + 2u) + HEAD_DIM;
    out[at] = maximum;
    out[at + 1u] = total;
  }
}
