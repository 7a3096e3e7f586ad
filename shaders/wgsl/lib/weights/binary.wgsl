// Codes 0, 1 = −1, +1, 256 to a tile.
#import "lib/weights/tile.wgsl"

const FIELDS: u32 = 8u;
const BITS: u32 = 1u;
const MASK: u32 = 0x01010101u;
const FACTOR: u32 = 2u;
