// Softmax cross-entropy of every row of logits (ROWS, VOCAB) in nats: loss = logsumexp − logit of the target; 0 where the
// target is IGNORED. With GRAD the logits become (softmax·(1 + 2·Z_LOSS·logsumexp) − onehot) · knobs.grad_scale.
// One workgroup per row; its maximum and sum are found in one pass (online softmax, Milakov & Gimelshein 2018).
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"
#import "lib/reduce.wgsl"

@group(0) @binding(1) var<storage, read> targets: array<u32>;       // (ROWS)
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;  // (ROWS, VOCAB)
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;  // (ROWS)

const REDUCE_LANES: u32 = 256u;
const IGNORED: u32 = 0xffffffffu;
const LOWEST: f32 = -3e38;

override VOCAB: u32;
override Z_LOSS: f32;
override GRAD: bool;

// e^d for d ≤ 0, without leaving the range of f32; not by `max`, which would swallow a NaN.
fn shrink(d: f32) -> f32 {
  return exp(select(d, -87.0, d < -87.0));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let r = flat_workgroup(workgroup, grid);
  if (r >= active_rows()) {
    return;
  }
  let base = r * VOCAB;
  let expected = targets[r];
  if (expected == IGNORED) {
    if (GRAD) {
      for (var i = lane; i < VOCAB; i += REDUCE_LANES) {
        logits[base + i] = 0.0;
      }
    }
    if (lane == 0u) {
      losses[r] = 0.0;
    }
    return;
  }
  var own_maximum = LOWEST;
  var own_sum = 0.0;
  for (var i = lane; i < VOCAB; i += REDUCE_LANES) {
    let value = logits[base + i];
    if (value > own_maximum) {
      own_sum = own_sum * shrink(own_maximum - value) + 1.0;
      own_maximum = value;
    } else {
      own_sum += shrink(value - own_maximum);
    }
  }
  let maximum = reduce_max(lane, own_maximum);
  let total = reduce_sum(lane, own_sum * shrink(own_maximum - maximum));
  let lse = maximum + log(total);
  // By the invocation that may overwrite the target's logit afterwards.
  if (lane == expected % REDUCE_LANES) {
    losses[r] = lse - logits[base + expected];
  }
  if (GRAD) {
    let factor = knobs.grad_scale * (1.0 + 2.0 * Z_LOSS * lse) / total;
    for (var i = lane; i < VOCAB; i += REDUCE_LANES) {
      var d = shrink(logits[base + i] - maximum) * factor;
      if (i == expected) {
        d -= knobs.grad_scale;
      }
      logits[base + i] = d;
    }
  }
}
