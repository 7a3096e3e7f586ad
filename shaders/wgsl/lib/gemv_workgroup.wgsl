// The form for every device: a workgroup computes GROUP_QUADS times four weight rows, 16 lanes to
// every four of them, and joins the lanes' sums in workgroup memory, one invocation per weight row.
#import "lib/gemv.wgsl"

const INVOCATIONS: u32 = GEMV_LANES * GROUP_QUADS;
const GROUP_ROWS: u32 = 4u * GROUP_QUADS;
// One word more than the lanes: rows lie in different banks.
const LANE_STRIDE: u32 = 17u;

var<workgroup> lane_sums: array<i32, GROUP_ROWS * LANE_STRIDE>; // (GROUP_ROWS, LANE_STRIDE)

fn four(at: u32) -> vec4<i32> {
  return vec4<i32>(lane_sums[at], lane_sums[at + 1u], lane_sums[at + 2u], lane_sums[at + 3u]);
}

fn finish(r: u32, first: u32, sums: vec4<i32>, local: vec3<u32>, lane: u32) {
  if (r > 0u) {
    workgroupBarrier();
  }
  let at = 4u * local.y * LANE_STRIDE + local.x;
  lane_sums[at] = sums.x;
  lane_sums[at + LANE_STRIDE] = sums.y;
  lane_sums[at + 2u * LANE_STRIDE] = sums.z;
  lane_sums[at + 3u * LANE_STRIDE] = sums.w;
  workgroupBarrier();
  if (lane < GROUP_ROWS) {
    let row = lane * LANE_STRIDE;
    let quarter = join(join(four(row), four(row + 8u)), join(four(row + 4u), four(row + 12u)));
    let pair = join(quarter, quarter.zwzw);
    store_sum(r, first + lane, join(pair, pair.yyyy).x);
  }
}

@compute @workgroup_size(16, GROUP_QUADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  if (active_rows() == 0u) {
    return;
  }
  prepare(lane);
  let first = flat_workgroup(workgroup, grid) * GROUP_ROWS;
  let sums = accumulate(first + 4u * local.y, local.x);
  finish(0u, first, sums.r0, local, lane);
  if (ROWS > 1u) { finish(1u, first, sums.r1, local, lane); }
  if (ROWS > 2u) { finish(2u, first, sums.r2, local, lane); }
  if (ROWS > 3u) { finish(3u, first, sums.r3, local, lane); }
  if (ROWS > 4u) { finish(4u, first, sums.r4, local, lane); }
  if (ROWS > 5u) { finish(5u, first, sums.r5, local, lane); }
  if (ROWS > 6u) { finish(6u, first, sums.r6, local, lane); }
  if (ROWS > 7u) { finish(7u, first, sums.r7, local, lane); }
}
