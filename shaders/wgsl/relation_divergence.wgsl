// KL(p ‖ q) of how every row relates to the rows of its sequence, mean over HEADS: p and q are the
// softmax of a·aᵀ/√width, of `teacher` (BATCH·SEQ, HEADS·TEACHER_DIM) and of `x` (BATCH·SEQ,
// HEADS·DIM) (MiniLMv2, Wang et al. 2021). `scores` becomes the gradient of WEIGHT·KL by the
// products x·xᵀ times run_params.grad_scale; both are 0 where the target is IGNORED. One workgroup
// per row.
#import "lib/run_params.wgsl"
#import "lib/grid.wgsl"
#import "lib/reduce.wgsl"
#import "lib/online_softmax.wgsl"

@group(0) @binding(1) var<storage, read> targets: array<u32>;       // (BATCH·SEQ)
@group(0) @binding(2) var<storage, read> x: array<f32>;             // (BATCH·SEQ, HEADS·DIM)
@group(0) @binding(3) var<storage, read> teacher: array<f32>;       // (BATCH·SEQ, HEADS·TEACHER_DIM)
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;  // (BATCH, HEADS, SEQ, SEQ)
@group(0) @binding(5) var<storage, read_write> losses: array<f32>;  // (BATCH·SEQ)

const REDUCE_LANES: u32 = 256u;
const IGNORED: u32 = 0xffffffffu;

override BATCH: u32;
override SEQ: u32;
override HEADS: u32;
override DIM: u32;
override TEACHER_DIM: u32;
override WEIGHT: f32;

fn of_student(head: u32, a: u32, b: u32) -> f32 {
  let width = HEADS * DIM;
  var sum = 0.0;
  for (var i = 0u; i < DIM; i++) {
    sum += x[a * width + head * DIM + i] * x[b * width + head * DIM + i];
  }
  return sum * inverseSqrt(f32(DIM));
}

fn of_teacher(head: u32, a: u32, b: u32) -> f32 {
  let width = HEADS * TEACHER_DIM;
  var sum = 0.0;
  for (var i = 0u; i < TEACHER_DIM; i++) {
    sum += teacher[a * width + head * TEACHER_DIM + i] * teacher[b * width + head * TEACHER_DIM + i];
  }
  return sum * inverseSqrt(f32(TEACHER_DIM));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let r = flat_workgroup(workgroup, grid);
  if (r >= BATCH * SEQ) {
    return;
  }
  let batch = r / SEQ;
  let first = batch * SEQ;
  if (targets[r] == IGNORED) {
    for (var h = 0u; h < HEADS; h++) {
      let base = ((batch * HEADS + h) * SEQ + r - first) * SEQ;
      for (var j = lane; j < SEQ; j += REDUCE_LANES) {
        scores[base + j] = 0.0;
      }
    }
    if (lane == 0u) {
      losses[r] = 0.0;
    }
    return;
  }
  let factor = WEIGHT * run_params.grad_scale * inverseSqrt(f32(DIM)) / f32(HEADS);
  var loss = 0.0;
  for (var h = 0u; h < HEADS; h++) {
    let base = ((batch * HEADS + h) * SEQ + r - first) * SEQ;
    var student = Online(LOWEST, 0.0);
    var master = Online(LOWEST, 0.0);
    for (var j = lane; j < SEQ; j += REDUCE_LANES) {
      student = see(student, of_student(h, r, first + j));
      master = see(master, of_teacher(h, r, first + j));
    }
    let z_maximum = reduce_max(lane, student.maximum);
    let z_total = reduce_sum(lane, student.sum * shrink(student.maximum - z_maximum));
    let t_maximum = reduce_max(lane, master.maximum);
    let t_total = reduce_sum(lane, master.sum * shrink(master.maximum - t_maximum));
    // Σ p·((t − t_max) − (z − z_max)) + ln(Σe^z / Σe^t): the maxima keep every term small.
    var expected = 0.0;
    for (var j = lane; j < SEQ; j += REDUCE_LANES) {
      let t = of_teacher(h, r, first + j) - t_maximum;
      let z = of_student(h, r, first + j) - z_maximum;
      expected += shrink(t) * (t - z);
      scores[base + j] = (shrink(z) / z_total - shrink(t) / t_total) * factor;
    }
    let sum = reduce_sum(lane, expected);
    loss += sum / t_total + log(z_total / t_total);
  }
  if (lane == 0u) {
    losses[r] = loss / f32(HEADS);
  }
}
