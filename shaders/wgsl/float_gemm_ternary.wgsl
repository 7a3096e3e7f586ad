// Matrix product: ternary weights, f32 activations.
#import "lib/weights/ternary.wgsl"
#import "lib/float_gemm.wgsl"
