// One to eight rows of activations, quantized on the way, times a ternary matrix, joined within
// subgroups.
#import "lib/weights/ternary.wgsl"
#import "lib/own_codes.wgsl"
#import "lib/int8_gemv_tiles.wgsl"
#import "lib/gemv_subgroup.wgsl"
