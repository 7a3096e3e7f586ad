// One to eight rows of f32 activations times an 8-bit matrix.
#import "lib/weights/eightbit.wgsl"
#import "lib/float_gemv.wgsl"
#import "lib/gemv_workgroup.wgsl"
