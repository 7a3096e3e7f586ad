// Tiles of 128 × 128 on cooperative matrices of 16 × 16: a subgroup multiplies 32 times between
// barriers, twice what it loads.
#import "lib/matrices_16.wgsl"
#import "lib/cooperative.wgsl"

const SPAN: u32 = 4u;
