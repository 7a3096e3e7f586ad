// One to eight rows of f32 activations times a ternary matrix.
#import "lib/weights/ternary.wgsl"
#import "lib/float_gemv.wgsl"
#import "lib/gemv_workgroup.wgsl"
