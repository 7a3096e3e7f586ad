// Forward weight of a latent with a scale per row or per group: out = Q(clamp(latent)),
// de-quantized, span by span. One workgroup per span.
#import "lib/weight_quant.wgsl"
#import "lib/grid.wgsl"

@group(0) @binding(1) var<storage, read> latent: array<f32>;     // (SPANS, SPAN)
@group(0) @binding(2) var<storage, read_write> out: array<Kept>; // (SPANS, SPAN)

const REDUCE_LANES: u32 = 64u;

override SPANS: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let index = flat_workgroup(workgroup, grid);
  if (index >= SPANS) {
    return;
  }
  let base = index * SPAN;
  var first = 0.0;
  for (var i = lane; i < SPAN; i += REDUCE_LANES) {
    first = join_first(first, first_term(latent[base + i]));
  }
  first = reduce_first(lane, first);
  var second = vec2<f32>();
  if (two_passes()) {
    let around = pivot(first);
    for (var i = lane; i < SPAN; i += REDUCE_LANES) {
      second += second_term(latent[base + i], around);
    }
    second = vec2<f32>(reduce_sum(lane, second.x), reduce_sum(lane, second.y));
  }
  let span = span_of(first, second);
  for (var i = lane; i < SPAN; i += REDUCE_LANES) {
    out[base + i] = kept(forward_weight(span, latent[base + i]));
  }
}
