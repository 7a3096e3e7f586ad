// int8 activations that another dispatch has quantized.
#import "lib/int8_input.wgsl"

// Four weight rows each that a workgroup without subgroups computes.
const GROUP_QUADS: u32 = 4u;

fn prepare(lane: u32) {
}
