// Figures of an optimizer step: row pos of the history becomes the loss, Σ norms and the index of
// the first norm that is not finite (NORM_COUNT if all are); then the loss is 0 again. One
// workgroup.
#import "lib/run_params.wgsl"
#import "lib/reduce.wgsl"
#import "lib/finite.wgsl"

@group(0) @binding(1) var<storage, read> norms: array<f32>;         // (NORM_COUNT)
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;    // (1)
@group(0) @binding(3) var<storage, read_write> history: array<f32>; // (CAPACITY, STEP_FIGURES)

const REDUCE_LANES: u32 = 256u;
const STEP_FIGURES: u32 = 3u;

override NORM_COUNT: u32;
override CAPACITY: u32;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  var first_bad = NORM_COUNT;
  for (var i = lane; i < NORM_COUNT; i += REDUCE_LANES) {
    sum += norms[i];
    if (!is_finite(norms[i])) {
      first_bad = min(first_bad, i);
    }
  }
  let total = reduce_sum(lane, sum);
  let bad = -reduce_max(lane, -f32(first_bad));
  if (lane == 0u) {
    let row = run_params.pos % CAPACITY * STEP_FIGURES;
    history[row] = loss[0];
    history[row + 1u] = total;
    history[row + 2u] = bad;
    loss[0] = 0.0;
  }
}
