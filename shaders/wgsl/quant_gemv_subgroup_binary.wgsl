// One to eight rows of activations, quantized on the way, times a binary matrix, joined within
// subgroups.
#import "lib/weights/binary.wgsl"
#import "lib/own_codes.wgsl"
#import "lib/int8_gemv_tiles.wgsl"
#import "lib/gemv_subgroup.wgsl"
