// Rotary positions, rotate-half.

@group(0) @binding(1) var<storage, read> angles: array<f32>; // (max_positions, ROTARY): cosines, then sines

override HEAD_DIM: u32;
override ROTARY: u32; // elements of a head that are rotated, the first ones
override INVERSE: bool;

// Elements i and i + ROTARY / 2 of a head at `position`; INVERSE rotates back.
fn rotate(pair: vec2<f32>, position: u32, i: u32) -> vec2<f32> {
  let at = position * ROTARY + i;
  let cosine = angles[at];
  let sine = select(angles[at + ROTARY / 2u], -angles[at + ROTARY / 2u], INVERSE);
  return vec2<f32>(pair.x * cosine - pair.y * sine, pair.y * cosine + pair.x * sine);
}
