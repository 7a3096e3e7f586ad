// One to eight rows of f32 activations times an 8-bit matrix, joined within subgroups.
#import "lib/weights/eightbit.wgsl"
#import "lib/float_gemv.wgsl"
#import "lib/gemv_subgroup.wgsl"
