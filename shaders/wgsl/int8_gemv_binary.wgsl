// One to eight rows of int8 activations times a binary matrix.
#import "lib/weights/binary.wgsl"
#import "lib/stored_codes.wgsl"
#import "lib/int8_gemv_tiles.wgsl"
#import "lib/gemv_workgroup.wgsl"
