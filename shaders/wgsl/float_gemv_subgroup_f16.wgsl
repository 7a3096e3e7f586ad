// One to eight rows of f32 activations times an f16 matrix, joined within subgroups.
#import "lib/weights/f16.wgsl"
#import "lib/float_gemv.wgsl"
#import "lib/gemv_subgroup.wgsl"
