// A tensor with one scale is measured in PARTS stretches, one workgroup each; whoever needs the
// whole joins their results. `parts` holds the first pass's results, then the second's sizes, then
// its counts.
#import "lib/weight_quant.wgsl"

const REDUCE_LANES: u32 = 256u;

override PARTS: u32; // at most REDUCE_LANES

fn total_first(lane: u32) -> f32 {
  return reduce_first(lane, part(lane, 0u));
}

fn total_second(lane: u32) -> vec2<f32> {
  return vec2<f32>(reduce_sum(lane, part(lane, 1u)), reduce_sum(lane, part(lane, 2u)));
}
