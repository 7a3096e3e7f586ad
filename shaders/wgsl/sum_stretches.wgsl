// Sums over stretches of many tensors, of which a table says where they are, see
// lib/sum_squares.wgsl.
#import "lib/sum_squares.wgsl"

@group(0) @binding(2) var<storage, read> table: array<vec3<u32>>; // begin, end, index of the sum

fn stretch(i: u32) -> vec3<u32> {
  return table[i];
}
