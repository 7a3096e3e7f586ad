// Sums and maxima over a workgroup of REDUCE_LANES invocations (a power of two, declared by the operation) by a tree in
// workgroup memory: no subgroup size assumed, and always the same order. Every invocation must take part; all of them get
// the result.

var<workgroup> reduce_lanes: array<f32, REDUCE_LANES>;

fn reduce_sum(lane: u32, value: f32) -> f32 {
  reduce_lanes[lane] = value;
  for (var half = REDUCE_LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      reduce_lanes[lane] += reduce_lanes[lane + half];
    }
  }
  return workgroupUniformLoad(&reduce_lanes[0]);
}

fn reduce_max(lane: u32, value: f32) -> f32 {
  reduce_lanes[lane] = value;
  for (var half = REDUCE_LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      reduce_lanes[lane] = max(reduce_lanes[lane], reduce_lanes[lane + half]);
    }
  }
  return workgroupUniformLoad(&reduce_lanes[0]);
}
