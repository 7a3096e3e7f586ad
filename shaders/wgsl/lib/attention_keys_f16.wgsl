// Keys and values of lib/attention_cached.wgsl in caches of binary16, two in a word.
#import "lib/half.wgsl"

@group(0) @binding(2) var<storage, read> cache_k: array<u32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM / 2)
@group(0) @binding(3) var<storage, read> cache_v: array<u32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM / 2)

fn key_element(i: u32) -> f32 {
  return from_half(cache_k[i / 2u], i);
}

fn value_element(i: u32) -> f32 {
  return from_half(cache_v[i / 2u], i);
}
