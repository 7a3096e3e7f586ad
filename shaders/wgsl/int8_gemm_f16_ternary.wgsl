enable f16;
// Matrix product: ternary weights, int8 activations, multiplied in f16.
#import "lib/weights/ternary.wgsl"
#import "lib/half_products.wgsl"
#import "lib/int8_gemm.wgsl"
