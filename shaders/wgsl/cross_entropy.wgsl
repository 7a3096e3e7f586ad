// Softmax cross-entropy of every row of logits (ROWS, VOCAB) in nats: loss = logsumexp − logit of
// the target; 0 where the target is IGNORED. With GRAD the logits become (softmax·(1 +
// 2·Z_LOSS·logsumexp) − onehot) · run_params.grad_scale. One workgroup per row.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"
#import "lib/reduce.wgsl"
#import "lib/online_softmax.wgsl"

@group(0) @binding(1) var<storage, read> targets: array<u32>;       // (ROWS)
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;  // (ROWS, VOCAB)
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;  // (ROWS)

const REDUCE_LANES: u32 = 256u;
const IGNORED: u32 = 0xffffffffu;

override VOCAB: u32;
override Z_LOSS: f32;
override GRAD: bool;

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
  var own = Online(LOWEST, 0.0);
  for (var i = lane; i < VOCAB; i += REDUCE_LANES) {
    own = see(own, logits[base + i]);
  }
  let maximum = reduce_max(lane, own.maximum);
  let total = reduce_sum(lane, own.sum * shrink(own.maximum - maximum));
  let lse = maximum + log(total);
  // By the invocation that may overwrite the target's logit afterwards.
  if (lane == expected % REDUCE_LANES) {
    losses[r] = lse - logits[base + expected];
  }
  if (GRAD) {
    let factor = run_params.grad_scale * (1.0 + 2.0 * Z_LOSS * lse) / total;
    for (var i = lane; i < VOCAB; i += REDUCE_LANES) {
      var d = shrink(logits[base + i] - maximum) * factor;
      if (i == expected) {
        d -= run_params.grad_scale;
      }
      logits[base + i] = d;
    }
  }
}
