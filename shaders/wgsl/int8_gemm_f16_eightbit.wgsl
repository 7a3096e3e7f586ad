enable f16;
// Matrix product: eightbit weights, int8 activations, multiplied in f16.
#import "lib/weights/eightbit.wgsl"
#import "lib/wide_half_products.wgsl"
#import "lib/int8_gemm.wgsl"
