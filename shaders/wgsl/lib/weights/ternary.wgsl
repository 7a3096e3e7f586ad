// Codes 0, 1, 2 = −1, 0, +1, 128 to a tile.
#import "lib/weights/tile.wgsl"

const FIELDS: u32 = 4u;
const BITS: u32 = 2u;
const MASK: u32 = 0x03030303u;
const FACTOR: u32 = 1u;
