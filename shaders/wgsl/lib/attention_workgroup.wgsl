// lib/attention_cached.wgsl with maxima joined in workgroup memory.
#import "lib/attention_cached.wgsl"

fn block_maximum(lane: u32, value: f32) -> f32 {
  return reduce_max(lane, value);
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  attend(workgroup, grid, lane);
}
