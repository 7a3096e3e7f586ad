// Statistics of a latent with one scale, see lib/tensor_quant.wgsl: the first pass, or the SECOND.
// One workgroup per stretch of STRETCH elements.
#import "lib/tensor_quant.wgsl"

@group(0) @binding(1) var<storage, read> latent: array<f32>;      // (SPAN)
@group(0) @binding(2) var<storage, read_write> parts: array<f32>; // (3, PARTS)

override STRETCH: u32;
override SECOND: bool;

fn part(lane: u32, which: u32) -> f32 {
  if (lane >= PARTS) {
    return 0.0;
  }
  return parts[which * PARTS + lane];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let begin = workgroup.x * STRETCH;
  let end = min(begin + STRETCH, SPAN);
  if (SECOND) {
    let around = pivot(total_first(lane));
    var second = vec2<f32>();
    for (var i = begin + lane; i < end; i += REDUCE_LANES) {
      second += second_term(latent[i], around);
    }
    let size = reduce_sum(lane, second.x);
    let count = reduce_sum(lane, second.y);
    if (lane == 0u) {
      parts[PARTS + workgroup.x] = size;
      parts[2u * PARTS + workgroup.x] = count;
    }
  } else {
    var first = 0.0;
    for (var i = begin + lane; i < end; i += REDUCE_LANES) {
      first = join_first(first, first_term(latent[i]));
    }
    first = reduce_first(lane, first);
    if (lane == 0u) {
      parts[workgroup.x] = first;
    }
  }
}
