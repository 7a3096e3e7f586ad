// Tiles of 64 × 64 on cooperative matrices of 16 × 16: a subgroup multiplies eight times between
// barriers.
#import "lib/matrices_16.wgsl"
#import "lib/cooperative.wgsl"

const SPAN: u32 = 2u;
