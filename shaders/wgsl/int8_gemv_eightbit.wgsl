// One to eight rows of int8 activations times an 8-bit matrix.
#import "lib/weights/eightbit.wgsl"
#import "lib/stored_codes.wgsl"
#import "lib/int8_gemv_bytes.wgsl"
#import "lib/gemv_workgroup.wgsl"
