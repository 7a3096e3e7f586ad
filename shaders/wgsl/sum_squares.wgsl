// Sums over stretches of STRETCH elements of x (LEN), to out[SLOT ..], see lib/sum_squares.wgsl.
#import "lib/sum_squares.wgsl"

override LEN: u32;
override STRETCH: u32;
override SLOT: u32;

fn stretch(i: u32) -> vec3<u32> {
  let begin = i * STRETCH;
  return vec3<u32>(begin, min(begin + STRETCH, LEN), SLOT + i);
}
