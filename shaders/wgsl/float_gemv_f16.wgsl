// One to eight rows of f32 activations times an f16 matrix.
#import "lib/weights/f16.wgsl"
#import "lib/float_gemv.wgsl"
#import "lib/gemv_workgroup.wgsl"
