// Sums and maxima over a workgroup of REDUCE_LANES invocations (declared by the operation, a
// multiple of 16): 16 of them join the values of all, then everyone joins those 16. No subgroup
// size assumed, two barriers, always the same order. Every invocation must take part; all of them
// get the result. A workgroup of fewer puts REDUCE_LANES values into `reduce_lanes` by itself and
// calls `join_sum` or `join_max`: its results are those of a whole one, to the bit.
const REDUCE_PARTS: u32 = 16u;

var<workgroup> reduce_lanes: array<f32, REDUCE_LANES>;
var<workgroup> reduce_parts: array<f32, REDUCE_PARTS>;

fn join_sum(lane: u32) -> f32 {
  workgroupBarrier();
  if (lane < REDUCE_PARTS) {
    var part = reduce_lanes[lane];
    for (var i = lane + REDUCE_PARTS; i < REDUCE_LANES; i += REDUCE_PARTS) {
      part += reduce_lanes[i];
    }
    reduce_parts[lane] = part;
  }
  workgroupBarrier();
  var total = reduce_parts[0];
  for (var i = 1u; i < REDUCE_PARTS; i++) {
    total += reduce_parts[i];
  }
  return total;
}

fn reduce_sum(lane: u32, value: f32) -> f32 {
  reduce_lanes[lane] = value;
  return join_sum(lane);
}

fn join_max(lane: u32) -> f32 {
  workgroupBarrier();
  if (lane < REDUCE_PARTS) {
    var part = reduce_lanes[lane];
    for (var i = lane + REDUCE_PARTS; i < REDUCE_LANES; i += REDUCE_PARTS) {
      part = max(part, reduce_lanes[i]);
    }
    reduce_parts[lane] = part;
  }
  workgroupBarrier();
  var largest = reduce_parts[0];
  for (var i = 1u; i < REDUCE_PARTS; i++) {
    largest = max(largest, reduce_parts[i]);
  }
  return largest;
}

fn reduce_max(lane: u32, value: f32) -> f32 {
  reduce_lanes[lane] = value;
  return join_max(lane);
}
