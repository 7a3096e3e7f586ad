// One to eight rows of int8 activations times a ternary matrix, joined within subgroups.
#import "lib/weights/ternary.wgsl"
#import "lib/stored_codes.wgsl"
#import "lib/int8_gemv_tiles.wgsl"
#import "lib/gemv_subgroup.wgsl"
