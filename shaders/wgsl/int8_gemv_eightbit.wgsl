// Matrix times vector: eightbit weights, int8 activations.
#import "lib/weights/eightbit.wgsl"
#import "lib/int8_gemv_bytes.wgsl"
