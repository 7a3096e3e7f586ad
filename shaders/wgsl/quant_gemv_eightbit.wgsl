// One to eight rows of activations, quantized on the way, times an 8-bit matrix.
#import "lib/weights/eightbit.wgsl"
#import "lib/own_codes.wgsl"
#import "lib/int8_gemv_bytes.wgsl"
#import "lib/gemv_workgroup.wgsl"
