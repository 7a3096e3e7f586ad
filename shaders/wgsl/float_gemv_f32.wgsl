// One to eight rows of f32 activations times an f32 matrix.
#import "lib/weights/f32.wgsl"
#import "lib/float_gemv.wgsl"
#import "lib/gemv_workgroup.wgsl"
