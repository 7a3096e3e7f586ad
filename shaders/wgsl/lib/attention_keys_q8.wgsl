// Keys and values of lib/attention_cached.wgsl in caches of int8, see lib/head_codes.wgsl.
@group(0) @binding(2) var<storage, read> cache_k: array<u32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM / 4 + 1)
@group(0) @binding(3) var<storage, read> cache_v: array<u32>; // (MAX_SEQ, KV_HEADS, HEAD_DIM / 4 + 1)

// The first word of the head that element i of all is in.
fn head_start(i: u32) -> u32 {
  return i / HEAD_DIM * (HEAD_DIM / 4u + 1u);
}

fn signed_code(word: u32, i: u32) -> f32 {
  return f32(extractBits(bitcast<i32>(word), 8u * (i % 4u), 8u));
}

fn key_element(i: u32) -> f32 {
  let head = head_start(i);
  return signed_code(cache_k[head + i % HEAD_DIM / 4u], i) * bitcast<f32>(cache_k[head + HEAD_DIM / 4u]);
}

fn value_element(i: u32) -> f32 {
  let head = head_start(i);
  return signed_code(cache_v[head + i % HEAD_DIM / 4u], i) * bitcast<f32>(cache_v[head + HEAD_DIM / 4u]);
}
