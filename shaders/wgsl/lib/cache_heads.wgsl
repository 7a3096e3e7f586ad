// What lies between the q, k, v projections and attention, in one: RMSNorm of every q and k head
// (NORM), rotary positions (ROPE), then k and v to the caches from row pos on; q is changed in
// place, k stays as it is. One workgroup per head of q, k and v of a row, in that order; an
// invocation handles elements i and i + HEAD_DIM / 2. The operation
// declares the caches and supplies `keep`, for one element of k or v, and `finish`, when all of a
// head are there. With JOINED, k and v lie behind q in its buffer, which cannot be bound twice.
#import "lib/rows.wgsl"
#import "lib/rope.wgsl"
#import "lib/grid.wgsl"
#import "lib/rms.wgsl"

@group(0) @binding(2) var<storage, read_write> q: array<f32>;       // (ROWS, HEADS, HEAD_DIM)
@group(0) @binding(3) var<storage, read> k: array<f32>;             // (ROWS, KV_HEADS, HEAD_DIM)
@group(0) @binding(4) var<storage, read> v: array<f32>;             // (ROWS, KV_HEADS, HEAD_DIM)
@group(0) @binding(7) var<storage, read> q_weight: array<f32>;      // (HEAD_DIM); not read without NORM
@group(0) @binding(8) var<storage, read> k_weight: array<f32>;      // (HEAD_DIM); not read without NORM

const REDUCE_LANES: u32 = 64u;

override HEADS: u32;
override KV_HEADS: u32;
override MAX_SEQ: u32;
override NORM: bool;
override ROPE: bool;
override JOINED: bool;

// Element i of the workgroup's head, `at` being its place in q, k or v.
fn element(head: u32, at: u32) -> f32 {
  if (head < HEADS) {
    return q[at];
  }
  let is_key = head < HEADS + KV_HEADS;
  if (JOINED) {
    let before = ROWS * HEAD_DIM * select(HEADS + KV_HEADS, HEADS, is_key);
    return q[before + at];
  }
  if (is_key) {
    return k[at];
  }
  return v[at];
}

fn weight(head: u32, i: u32) -> f32 {
  if (head < HEADS) {
    return q_weight[i];
  }
  return k_weight[i];
}

fn store(head: u32, at: u32, cached: u32, value: f32) {
  if (head < HEADS) {
    q[at] = value;
  } else {
    keep(head < HEADS + KV_HEADS, at, cached, value);
  }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let heads = HEADS + 2u * KV_HEADS;
  let item = flat_workgroup(workgroup, grid);
  let r = item / heads;
  let head = item % heads;
  let position = run_params.pos + r;
  let is_q = head < HEADS;
  let is_v = head >= HEADS + KV_HEADS;
  if (r >= active_rows() || (!is_q && position >= MAX_SEQ)) {
    return;
  }
  let kv_head = (head - HEADS) % KV_HEADS;
  let base = select(r * KV_HEADS + kv_head, r * HEADS + head, is_q) * HEAD_DIM;
  let cached = (position * KV_HEADS + kv_head) * HEAD_DIM;

  let norm = NORM && !is_v;
  var factor = 1.0;
  if (norm) {
    var squares = 0.0;
    for (var i = lane; i < HEAD_DIM; i += REDUCE_LANES) {
      let x = element(head, base + i);
      squares += x * x;
    }
    factor = rstd_of(lane, squares, HEAD_DIM);
  }
  // Without ROPE a head may have an odd width.
  let half = (HEAD_DIM + 1u) / 2u;
  for (var i = lane; i < half; i += REDUCE_LANES) {
    let paired = i + half < HEAD_DIM;
    var pair = vec2<f32>(element(head, base + i), 0.0);
    if (paired) {
      pair.y = element(head, base + i + half);
    }
    if (norm) {
      pair *= factor * vec2<f32>(weight(head, i), weight(head, i + half));
    }
    if (ROPE && !is_v) {
      pair = rotate(pair, position, i);
    }
    store(head, base + i, cached + i, pair.x);
    if (paired) {
      store(head, base + i + half, cached + i + half, pair.y);
    }
  }
  finish(is_q, head < HEADS + KV_HEADS, lane, base, cached);
}
