// Heads on their way to caches of int8, see lib/cache_heads.wgsl and lib/head_codes.wgsl.
#import "lib/cache_heads.wgsl"
#import "lib/head_codes.wgsl"

@group(0) @binding(5) var<storage, read_write> cache_k: array<u32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM / 4 + 1)
@group(0) @binding(6) var<storage, read_write> cache_v: array<u32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM / 4 + 1)

fn keep(is_key: bool, at: u32, cached: u32, value: f32) {
  kept[at % HEAD_DIM] = value;
}

fn finish(is_q: bool, is_key: bool, lane: u32, base: u32, cached: u32) {
  workgroupBarrier();
  if (is_q) {
    return;
  }
  let scale = head_scale(lane);
  let first = cached / HEAD_DIM * (HEAD_DIM / 4u + 1u);
  for (var word = lane; word <= HEAD_DIM / 4u; word += REDUCE_LANES) {
    if (is_key) {
      cache_k[first + word] = head_word(word, scale);
    } else {
      cache_v[first + word] = head_word(word, scale);
    }
  }
}
