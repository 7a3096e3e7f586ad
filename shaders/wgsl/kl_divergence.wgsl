// KL(p ‖ q) of every row in nats, p = softmax(teacher / T), q = softmax(logits / T), both (ROWS,
// VOCAB); 0 where the target is IGNORED. `teacher` becomes (q − p) · WEIGHT·T ·
// run_params.grad_scale: the gradient of WEIGHT·T²·KL by the logits (Hinton et al. 2015). One
// workgroup per row.
#import "lib/rows.wgsl"
#import "lib/grid.wgsl"
#import "lib/reduce.wgsl"
#import "lib/online_softmax.wgsl"

@group(0) @binding(1) var<storage, read> targets: array<u32>;        // (ROWS)
@group(0) @binding(2) var<storage, read> logits: array<f32>;         // (ROWS, VOCAB)
@group(0) @binding(3) var<storage, read_write> teacher: array<f32>;  // (ROWS, VOCAB)
@group(0) @binding(4) var<storage, read_write> losses: array<f32>;   // (ROWS)

const REDUCE_LANES: u32 = 256u;
const IGNORED: u32 = 0xffffffffu;

override VOCAB: u32;
override WEIGHT: f32;
override TEMPERATURE: f32;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let r = flat_workgroup(workgroup, grid);
  if (r >= active_rows()) {
    return;
  }
  let base = r * VOCAB;
  if (targets[r] == IGNORED) {
    for (var i = lane; i < VOCAB; i += REDUCE_LANES) {
      teacher[base + i] = 0.0;
    }
    if (lane == 0u) {
      losses[r] = 0.0;
    }
    return;
  }
  let inverse = 1.0 / TEMPERATURE;
  var student = Online(LOWEST, 0.0);
  var master = Online(LOWEST, 0.0);
  for (var i = lane; i < VOCAB; i += REDUCE_LANES) {
    student = see(student, logits[base + i] * inverse);
    master = see(master, teacher[base + i] * inverse);
  }
  let z_maximum = reduce_max(lane, student.maximum);
  let z_total = reduce_sum(lane, student.sum * shrink(student.maximum - z_maximum));
  let t_maximum = reduce_max(lane, master.maximum);
  let t_total = reduce_sum(lane, master.sum * shrink(master.maximum - t_maximum));
  // Σ p·((t − t_max) − (z − z_max)) + ln(Σe^z / Σe^t): the maxima keep every term small.
  var expected = 0.0;
  for (var i = lane; i < VOCAB; i += REDUCE_LANES) {
    let t = teacher[base + i] * inverse - t_maximum;
    let z = logits[base + i] * inverse - z_maximum;
    expected += shrink(t) * (t - z);
    let difference = shrink(z) / z_total - shrink(t) / t_total;
    teacher[base + i] = difference * WEIGHT * TEMPERATURE * run_params.grad_scale;
  }
  let sum = reduce_sum(lane, expected);
  if (lane == 0u) {
    losses[r] = sum / t_total + log(z_total / t_total);
  }
}
