// What both gradients of attention read. With p = exp(scores − lse) and dp = dout·vᵀ, the gradient
// of the scores is ds = p·(dp − delta), and before a cap that times `slope`.
#import "lib/attention_tile.wgsl"

@group(0) @binding(1) var<storage, read> q: array<f32>;     // (BATCH, SEQ, HEADS, HEAD_DIM)
@group(0) @binding(2) var<storage, read> k: array<f32>;     // (BATCH, SEQ, KV_HEADS, HEAD_DIM)
@group(0) @binding(3) var<storage, read> v: array<f32>;     // (BATCH, SEQ, KV_HEADS, HEAD_DIM)
@group(0) @binding(4) var<storage, read> dout: array<f32>;  // (BATCH, SEQ, HEADS, HEAD_DIM)
@group(0) @binding(5) var<storage, read> lse: array<f32>;   // (BATCH, HEADS, SEQ)
@group(0) @binding(6) var<storage, read> delta: array<f32>; // (BATCH, HEADS, SEQ)

const SCORES: u32 = 0u;        // q·kᵀ
const WEIGHT_GRADS: u32 = 1u;  // dout·vᵀ

var<private> stats_start: u32; // of lse and delta

fn query_side(which: u32, t: u32, d: u32) -> f32 {
  if (t >= SEQ || d >= HEAD_DIM) {
    return 0.0;
  }
  let at = q_start + t * HEADS * HEAD_DIM + d;
  if (which == SCORES) {
    return q[at];
  }
  return dout[at];
}

fn key_side(which: u32, t: u32, d: u32) -> f32 {
  if (t >= SEQ || d >= HEAD_DIM) {
    return 0.0;
  }
  let at = kv_start + t * KV_HEADS * HEAD_DIM + d;
  if (which == SCORES) {
    return k[at];
  }
  return v[at];
}

fn lse_at(t: u32) -> f32 {
  return lse[stats_start + min(t, SEQ - 1u)];
}

fn delta_at(t: u32) -> f32 {
  return delta[stats_start + min(t, SEQ - 1u)];
}

// The derivative of a capped score by the score before the cap.
fn slope(scores: vec4<f32>) -> vec4<f32> {
  if (SOFTCAP == 0.0) {
    return vec4<f32>(1.0);
  }
  let share = scores / SOFTCAP;
  return 1.0 - share * share;
}

// p where the query sees the key and exists, else 0.
fn weights_of(scores: vec4<f32>, lse: vec4<f32>, keys: vec4<u32>, queries: vec4<u32>, starts: vec4<u32>) -> vec4<f32> {
  return select(vec4<f32>(), shrink(scores - lse), seen(keys, queries, starts) & (queries < vec4<u32>(SEQ)));
}
