// One to eight rows of f32 activations times a ternary matrix, joined within subgroups.
#import "lib/weights/ternary.wgsl"
#import "lib/float_gemv.wgsl"
#import "lib/gemv_subgroup.wgsl"
