// Matrix times vector: binary weights, f32 activations.
#import "lib/weights/binary.wgsl"
#import "lib/float_gemv.wgsl"
