// The K largest of COUNT values, the lowest id first among equals, in order of id: radix select on
// keys whose unsigned order is the floats' order, eight bits a digit_index. NaN counts as smaller
// than everything. One workgroup per slice of SLICE values (the last takes the rest) writes K
// candidates; a second dispatch, INDIRECT, selects among the candidates of all slices, whose ids
// are in `source_ids`.
#import "lib/order.wgsl"
#import "lib/scan.wgsl"

@group(0) @binding(1) var<storage, read> source: array<f32>;        // (COUNT)
@group(0) @binding(2) var<storage, read> source_ids: array<u32>;    // (COUNT); not read unless INDIRECT
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;     // (slices, K)
@group(0) @binding(4) var<storage, read_write> values: array<f32>;  // (slices, K)

override COUNT: u32;
override SLICE: u32;
override K: u32;
override INDIRECT: bool;

const RADIX: u32 = 256u;

var<workgroup> histogram: array<atomic<u32>, RADIX>;
var<workgroup> chosen_digit: u32;
var<workgroup> chosen_need: u32;

fn key(i: u32) -> u32 {
  return order(source[i]);
}

fn emit(at: u32, i: u32) {
  values[at] = source[i];
  if (INDIRECT) {
    ids[at] = source_ids[i];
  } else {
    ids[at] = i;
  }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = workgroup.x * SLICE;
  let end = select(first + SLICE, COUNT, workgroup.x + 1u == grid.x);

  // The K-th largest key, digit by digit: `threshold` under `mask` is fixed, `need` keys with that
  // prefix are wanted.
  var threshold = 0u;
  var mask = 0u;
  var need = K;
  for (var digit_index = 0u; digit_index < 4u; digit_index++) {
    let shift = 24u - 8u * digit_index;
    atomicStore(&histogram[lane], 0u);
    workgroupBarrier();
    for (var i = first + lane; i < end; i += RADIX) {
      let k = key(i);
      if ((k & mask) == threshold) {
        atomicAdd(&histogram[(k >> shift) & 0xffu], 1u);
      }
    }
    workgroupBarrier();
    // From the largest digit down.
    let digit = RADIX - 1u - lane;
    let count = atomicLoad(&histogram[digit]);
    let above = inclusive_scan(lane, count) - count;
    if (above < need && above + count >= need) {
      chosen_digit = digit;
      chosen_need = need - above;
    }
    threshold |= workgroupUniformLoad(&chosen_digit) << shift;
    need = workgroupUniformLoad(&chosen_need);
    mask |= 0xffu << shift;
  }

  // All keys above the threshold and the first `need` equal to it, each invocation writing those of
  // a stretch of ids.
  let stretch = (end - first + RADIX - 1u) / RADIX;
  let begin = min(first + lane * stretch, end);
  let stop = min(begin + stretch, end);
  var greater = 0u;
  var equal = 0u;
  for (var i = begin; i < stop; i++) {
    let k = key(i);
    greater += u32(k > threshold);
    equal += u32(k == threshold);
  }
  greater = inclusive_scan(lane, greater) - greater;
  equal = inclusive_scan(lane, equal) - equal;
  let base = workgroup.x * K;
  for (var i = begin; i < stop; i++) {
    let k = key(i);
    if (k > threshold) {
      emit(base + greater + min(equal, need), i);
      greater += 1u;
    } else if (k == threshold) {
      if (equal < need) {
        emit(base + greater + equal, i);
      }
      equal += 1u;
    }
  }
}
