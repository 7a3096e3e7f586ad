// The RMSNorm's factor of DIM values, from `value(base)` on, which the operation supplies. However
// many INVOCATIONS a workgroup has, they add up as 256 do, so that every operation that normalizes
// a row gets the same bits.
#import "lib/rms.wgsl"

const REDUCE_LANES: u32 = 256u;

fn row_factor(base: u32, lane: u32) -> f32 {
  for (var part = lane; part < REDUCE_LANES; part += INVOCATIONS) {
    var squares = 0.0;
    for (var i = part; i < DIM; i += REDUCE_LANES) {
      let x = value(base + i);
      squares += x * x;
    }
    reduce_lanes[part] = squares;
  }
  return rstd_from(join_sum(lane), DIM);
}
