// One to eight rows of activations, quantized on the way, times an 8-bit matrix, joined within
// subgroups.
#import "lib/weights/eightbit.wgsl"
#import "lib/own_codes.wgsl"
#import "lib/int8_gemv_bytes.wgsl"
#import "lib/gemv_subgroup.wgsl"
