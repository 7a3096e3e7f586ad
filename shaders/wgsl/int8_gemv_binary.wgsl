// Matrix times vector: binary weights, int8 activations.
#import "lib/weights/binary.wgsl"
#import "lib/int8_gemv_tiles.wgsl"
