// The form for devices with subgroups, of any size from 4 to 128: lanes of one subgroup share four
// weight rows and join their sums without workgroup memory and barriers. A subgroup of more than 16
// computes several times four rows; where it has fewer, an invocation does the work of several
// lanes. A workgroup computes QUADS times four rows. Invocations of a subgroup are taken to be
// neighbors; where they are not, the comparison with the other form finds it.
#import "lib/gemv.wgsl"

const INVOCATIONS: u32 = 128u;

override QUADS: u32;

fn join_all(a: Sums, b: Sums) -> Sums {
  return Sums(join(a.r0, b.r0), join(a.r1, b.r1), join(a.r2, b.r2), join(a.r3, b.r3), join(a.r4, b.r4), join(a.r5, b.r5), join(a.r6, b.r6), join(a.r7, b.r7));
}

// Sums of the lanes whose work an invocation does, joined in their order: of l, or of l and l + 8,
// or of these two and of l + 4 and l + 12.
fn own_sums(row: u32, lane: u32, lanes: u32) -> Sums {
  var sums = Sums();
  for (var half = 0u; half < 8u; half += lanes) {
    var pair = Sums();
    for (var other = 0u; other < GEMV_LANES; other += max(lanes, 8u)) {
      let one = accumulate(row, lane + half + other);
      if (other == 0u) {
        pair = one;
      } else {
        pair = join_all(pair, one);
      }
    }
    if (half == 0u) {
      sums = pair;
    } else {
      sums = join_all(sums, pair);
    }
  }
  return sums;
}

// Everyone's sums of a row joined with those of the lanes that have the same four weight rows.
fn finish(r: u32, row: u32, lane: u32, lanes: u32, sums: vec4<i32>) {
  var all = sums;
  if (lanes > 8u) {
    all = join(all, subgroupShuffleXor(all, 8u));
  }
  if (lanes > 4u) {
    all = join(all, subgroupShuffleXor(all, 4u));
  }
  all = join(all, subgroupShuffleXor(all, 2u));
  all = join(all, subgroupShuffleXor(all, 1u));
  if (lane == 0u) {
    store_sum(r, row, all.x);
    store_sum(r, row + 1u, all.y);
    store_sum(r, row + 2u, all.z);
    store_sum(r, row + 3u, all.w);
  }
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) invocation: u32, @builtin(subgroup_size) size: u32, @builtin(subgroup_invocation_id) place: u32) {
  if (active_rows() == 0u) {
    return;
  }
  prepare(invocation);
  let lanes = min(size, GEMV_LANES);
  let lane = place % lanes;
  let first = flat_workgroup(workgroup, grid) * QUADS;
  let at_once = INVOCATIONS / lanes;
  for (var quad = 0u; quad < QUADS; quad += at_once) {
    // Where fewer are wanted than there are lanes for, the rest compute what they do not store.
    let own = quad + invocation / lanes;
    let row = select(4u * (first + own), WEIGHT_ROWS, own >= QUADS);
    let sums = own_sums(row, lane, lanes);
    finish(0u, row, lane, lanes, sums.r0);
    if (ROWS > 1u) { finish(1u, row, lane, lanes, sums.r1); }
    if (ROWS > 2u) { finish(2u, row, lane, lanes, sums.r2); }
    if (ROWS > 3u) { finish(3u, row, lane, lanes, sums.r3); }
    if (ROWS > 4u) { finish(4u, row, lane, lanes, sums.r4); }
    if (ROWS > 5u) { finish(5u, row, lane, lanes, sums.r5); }
    if (ROWS > 6u) { finish(6u, row, lane, lanes, sums.r6); }
    if (ROWS > 7u) { finish(7u, row, lane, lanes, sums.r7); }
  }
}
