// Heads on their way to caches of binary16, two in a word, see lib/cache_heads.wgsl. HEAD_DIM is
// even.
#import "lib/cache_heads.wgsl"
#import "lib/half.wgsl"

@group(0) @binding(5) var<storage, read_write> cache_k: array<u32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM / 2)
@group(0) @binding(6) var<storage, read_write> cache_v: array<u32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM / 2)

// The head of this workgroup: neighbors are computed by different invocations.
var<workgroup> kept: array<f32, HEAD_DIM>;

fn keep(is_key: bool, at: u32, cached: u32, value: f32) {
  kept[at % HEAD_DIM] = value;
}

fn finish(is_q: bool, is_key: bool, lane: u32, base: u32, cached: u32) {
  workgroupBarrier();
  if (is_q) {
    return;
  }
  for (var pair = lane; pair < HEAD_DIM / 2u; pair += REDUCE_LANES) {
    let word = to_halves(kept[2u * pair], kept[2u * pair + 1u]);
    if (is_key) {
      cache_k[cached / 2u + pair] = word;
    } else {
      cache_v[cached / 2u + pair] = word;
    }
  }
}
