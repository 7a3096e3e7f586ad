// Tiles of 64 × 64 on cooperative matrices of 8 × 8, as Metal has them: a subgroup multiplies 64
// times between barriers, twice what it loads. There they are read from scalars.
#import "lib/cooperative.wgsl"

const SPAN: u32 = 4u;
const SIDE: u32 = 8u;
const CELL: u32 = 1u;

alias Cell = f16;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sum = coop_mat8x8<f32, C>;

fn put_left(at: u32, quad: vec4<f16>) {
  left[at] = quad.x;
  left[at + 1u] = quad.y;
  left[at + 2u] = quad.z;
  left[at + 3u] = quad.w;
}

fn put_right(at: u32, quad: vec4<f16>) {
  right[at] = quad.x;
  right[at + 1u] = quad.y;
  right[at + 2u] = quad.z;
  right[at + 3u] = quad.w;
}
