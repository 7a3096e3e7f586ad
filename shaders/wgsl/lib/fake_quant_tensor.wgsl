// Forward weight of a latent with one scale for the tensor, from the statistics of
// tensor_stats.wgsl. One workgroup per stretch of STRETCH elements.
#import "lib/tensor_quant.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(1) var<storage, read> latent: array<f32>;     // (SPAN)
@group(0) @binding(2) var<storage, read> parts: array<f32>;      // (3, PARTS)
@group(0) @binding(3) var<storage, read_write> out: array<Kept>; // (SPAN)

override STRETCH: u32;

fn part(lane: u32, which: u32) -> f32 {
  if (lane >= PARTS) {
    return 0.0;
  }
  return parts[which * PARTS + lane];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = total_first(lane);
  var second = vec2<f32>();
  if (two_passes()) {
    second = total_second(lane);
  }
  let span = span_of(first, second);
  let begin = flat_workgroup(workgroup, grid) * STRETCH;
  let end = min(begin + STRETCH, SPAN);
  for (var i = begin + lane; i < end; i += REDUCE_LANES) {
    out[i] = kept(forward_weight(span, latent[i]));
  }
}
