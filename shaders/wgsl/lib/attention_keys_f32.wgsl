// Keys and values of lib/attention_cached.wgsl in caches of f32.
@group(0) @binding(2) var<storage, read> cache_k: array<f32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM)
@group(0) @binding(3) var<storage, read> cache_v: array<f32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM)

fn key_element(i: u32) -> f32 {
  return cache_k[i];
}

fn value_element(i: u32) -> f32 {
  return cache_v[i];
}
