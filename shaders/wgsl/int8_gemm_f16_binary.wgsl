enable f16;
// Matrix product: binary weights, int8 activations, multiplied in f16.
#import "lib/weights/binary.wgsl"
#import "lib/half_products.wgsl"
#import "lib/int8_gemm.wgsl"
