// Inclusive prefix sum over a workgroup of 256 invocations (Hillis & Steele). Every invocation must
// take part.
const SCAN_LANES: u32 = 256u;

var<workgroup> scan_lanes: array<u32, SCAN_LANES>;

fn inclusive_scan(lane: u32, value: u32) -> u32 {
  workgroupBarrier();
  scan_lanes[lane] = value;
  var sum = value;
  for (var distance = 1u; distance < SCAN_LANES; distance *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (lane >= distance) {
      before = scan_lanes[lane - distance];
    }
    workgroupBarrier();
    sum += before;
    scan_lanes[lane] = sum;
  }
  return sum;
}
