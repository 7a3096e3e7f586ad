// Matrix product: binary weights, f32 activations.
#import "lib/weights/binary.wgsl"
#import "lib/float_gemm.wgsl"
