// Direct preference optimization (Rafailov et al. 2023) of pairs of sequences (PAIRS, 2, SEQ), the
// chosen one first. With r the sum of reference − losses over a sequence, which is ln(π/π_ref):
// margins = BETA · (r of chosen − r of rejected), out = −ln σ(margin), wins = whether it is above
// 0; all 0 where every target of a pair is IGNORED. With GRAD the rows of d_logits, the gradient of
// the sum of losses, are multiplied by the derivative of `out` by their loss. One workgroup per
// row, or per pair without GRAD.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"
#import "lib/reduce.wgsl"

@group(0) @binding(1) var<storage, read> targets: array<u32>;         // (PAIRS, 2, SEQ)
@group(0) @binding(2) var<storage, read> losses: array<f32>;          // (PAIRS, 2, SEQ)
@group(0) @binding(3) var<storage, read> reference: array<f32>;       // (PAIRS, 2, SEQ)
@group(0) @binding(4) var<storage, read_write> d_logits: array<f32>;  // (PAIRS, 2, SEQ, VOCAB)
@group(0) @binding(5) var<storage, read_write> out: array<f32>;       // (PAIRS)
@group(0) @binding(6) var<storage, read_write> margins: array<f32>;   // (PAIRS)
@group(0) @binding(7) var<storage, read_write> wins: array<f32>;      // (PAIRS)

const REDUCE_LANES: u32 = 256u;
const IGNORED: u32 = 0xffffffffu;

override SEQ: u32;
override VOCAB: u32;
override BETA: f32;
override GRAD: bool;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let r = flat_workgroup(workgroup, grid) * select(2u * SEQ, 1u, GRAD);
  if (r >= active_rows()) {
    return;
  }
  let pair = r / (2u * SEQ);
  let chosen = pair * 2u * SEQ;
  var difference = 0.0;
  var counted = 0.0;
  for (var i = lane; i < SEQ; i += REDUCE_LANES) {
    let rejected = chosen + SEQ + i;
    difference += (reference[chosen + i] - losses[chosen + i]) - (reference[rejected] - losses[rejected]);
    if (targets[chosen + i] != IGNORED || targets[rejected] != IGNORED) {
      counted = 1.0;
    }
  }
  let margin = BETA * reduce_sum(lane, difference);
  let counts = reduce_max(lane, counted);
  // e^-|margin| is at most 1: nothing overflows.
  let small = exp(-min(abs(margin), 87.0));
  if (lane == 0u && r == chosen) {
    out[pair] = counts * (max(-margin, 0.0) + log(1.0 + small));
    margins[pair] = margin;
    wins[pair] = select(0.0, 1.0, margin > 0.0);
  }
  if (GRAD) {
    // BETA · σ(−margin), against the chosen sequence's loss and for the rejected one's.
    let slope = BETA * select(1.0, small, margin > 0.0) / (1.0 + small);
    let factor = select(-slope, slope, r < chosen + SEQ);
    for (var i = lane; i < VOCAB; i += REDUCE_LANES) {
      d_logits[r * VOCAB + i] *= factor;
    }
  }
}
