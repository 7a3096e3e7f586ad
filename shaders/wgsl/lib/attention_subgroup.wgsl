// lib/attention_cached.wgsl for devices with subgroups, of any size from 4 to 128: maxima are
// joined within each, and those of all subgroups in workgroup memory, which takes one barrier.
// Invocations of a subgroup are taken to be neighbors; where they are not, the comparison with the
// other form finds it.
#import "lib/attention_cached.wgsl"

var<workgroup> maxima: array<f32, REDUCE_LANES>; // (subgroups)
var<private> subgroup_lanes: u32;

fn block_maximum(lane: u32, value: f32) -> f32 {
  let own = subgroupMax(value);
  if (lane % subgroup_lanes == 0u) {
    maxima[lane / subgroup_lanes] = own;
  }
  workgroupBarrier();
  var largest = maxima[0];
  for (var i = 1u; i < REDUCE_LANES / subgroup_lanes; i++) {
    largest = max(largest, maxima[i]);
  }
  return largest;
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(subgroup_size) size: u32) {
  subgroup_lanes = size;
  attend(workgroup, grid, lane);
}
