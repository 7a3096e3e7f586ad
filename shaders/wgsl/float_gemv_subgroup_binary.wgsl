// One to eight rows of f32 activations times a binary matrix, joined within subgroups.
#import "lib/weights/binary.wgsl"
#import "lib/float_gemv.wgsl"
#import "lib/gemv_subgroup.wgsl"
