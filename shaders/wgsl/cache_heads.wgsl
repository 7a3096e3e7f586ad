// Heads on their way to caches of f32, see lib/cache_heads.wgsl.
#import "lib/cache_heads.wgsl"

@group(0) @binding(5) var<storage, read_write> cache_k: array<f32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM)
@group(0) @binding(6) var<storage, read_write> cache_v: array<f32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM)

fn keep(is_key: bool, at: u32, cached: u32, value: f32) {
  if (is_key) {
    cache_k[cached] = value;
  } else {
    cache_v[cached] = value;
  }
}

fn finish(is_q: bool, is_key: bool, lane: u32, base: u32, cached: u32) {
}
