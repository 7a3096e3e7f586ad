// One to eight rows of f32 activations times a binary matrix.
#import "lib/weights/binary.wgsl"
#import "lib/float_gemv.wgsl"
#import "lib/gemv_workgroup.wgsl"
