// Matrix times vector: ternary weights, int8 activations.
#import "lib/weights/ternary.wgsl"
#import "lib/int8_gemv_tiles.wgsl"
