// One to eight rows of activations, quantized on the way, times a binary matrix.
#import "lib/weights/binary.wgsl"
#import "lib/own_codes.wgsl"
#import "lib/int8_gemv_tiles.wgsl"
#import "lib/gemv_workgroup.wgsl"
