// Rotary positions, rotate-half.
#import "lib/rows.wgsl"

@group(0) @binding(1) var<storage, read> angles: array<f32>; // (max_positions, ROTARY): cosines, then sines

override HEAD_DIM: u32;
override ROTARY: u32; // elements of a head that are rotated, the first ones
override SEQ: u32;
override INVERSE: bool;

// Elements i and i + ROTARY / 2 of a head of row r, which stands at position pos + r % SEQ;
// INVERSE rotates back.
fn rotate(pair: vec2<f32>, r: u32, i: u32) -> vec2<f32> {
  let at = (run_params.pos + r % SEQ) * ROTARY + i;
  let cosine = angles[at];
  let sine = select(angles[at + ROTARY / 2u], -angles[at + ROTARY / 2u], INVERSE);
  return vec2<f32>(pair.x * cosine - pair.y * sine, pair.y * cosine + pair.x * sine);
}
