// A token chosen among K candidates, at most 256, as ternary_core::sampling::Choice does it: sorted
// by logit, cut by top_k and top_p, and drawn by their softmax. Weights, e^((logit − best) /
// temperature), are whole numbers in units of 2⁻²³, whose sums are exact. A draw within 1e-5 of
// where one token ends and the next begins may fall on either. One workgroup, an invocation per
// candidate.
#import "lib/run_params.wgsl"
#import "lib/order.wgsl"
#import "lib/scan.wgsl"

@group(0) @binding(1) var<storage, read> top_ids: array<u32>;       // (K)
@group(0) @binding(2) var<storage, read> top_values: array<f32>;    // (K)
@group(0) @binding(3) var<storage, read_write> recent: array<u32>;  // (CAPACITY)
@group(0) @binding(4) var<storage, read_write> ids: array<u32>;     // (1)
@group(0) @binding(5) var<storage, read_write> chosen: array<u32>;  // (1)

override K: u32;
override CAPACITY: u32;

const UNIT: f32 = 8388608.0;

var<workgroup> keys: array<u32, SCAN_LANES>;
var<workgroup> tokens: array<u32, SCAN_LANES>;
var<workgroup> sorted_values: array<f32, SCAN_LANES>;
var<workgroup> sorted_tokens: array<u32, SCAN_LANES>;
var<workgroup> numbers: atomic<u32>;
var<workgroup> last: atomic<u32>;
var<workgroup> pick: atomic<u32>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  var value = 0.0;
  var key = 0u;
  var token = 0u;
  if (lane < K) {
    value = top_values[lane];
    key = order(value);
    token = top_ids[lane];
  }
  keys[lane] = key;
  tokens[lane] = token;
  if (lane == 0u) {
    atomicStore(&numbers, 0u);
    atomicStore(&last, SCAN_LANES - 1u);
    atomicStore(&pick, SCAN_LANES);
  }
  workgroupBarrier();
  if (key > 0u) {
    atomicAdd(&numbers, 1u);
    var rank = 0u;
    for (var i = 0u; i < K; i++) {
      rank += u32(keys[i] > key || (keys[i] == key && tokens[i] < token));
    }
    sorted_values[rank] = value;
    sorted_tokens[rank] = token;
  }
  workgroupBarrier();
  var limit = atomicLoad(&numbers);
  if (run_params.top_k > 0u) {
    limit = min(limit, run_params.top_k);
  }
  var temperature = run_params.temperature;
  if (temperature == 0.0) {
    limit = min(limit, 1u);
    temperature = 1.0;
  }
  var weight = 0u;
  if (lane < limit) {
    // Below −87 the exponential is 0 in f32.
    weight = u32(round(exp(max((sorted_values[lane] - sorted_values[0]) / temperature, -87.0)) * UNIT));
  }
  let sum = inclusive_scan(lane, weight);
  workgroupBarrier();
  if (f32(sum) >= run_params.top_p * f32(scan_lanes[SCAN_LANES - 1u])) {
    atomicMin(&last, lane);
  }
  workgroupBarrier();
  let end = atomicLoad(&last);
  if (lane <= end && f32(sum) > run_params.draw * f32(scan_lanes[end])) {
    atomicMin(&pick, lane);
  }
  workgroupBarrier();
  if (lane == 0u) {
    let place = min(atomicLoad(&pick), end);
    let some = limit > 0u;
    // Where it can be looked up, even if there is none.
    let next = select(0u, sorted_tokens[place], some);
    ids[0] = next;
    recent[(run_params.pos + 1u) % CAPACITY] = next;
    chosen[0] = select(0xffffffffu, next, some);
  }
}
