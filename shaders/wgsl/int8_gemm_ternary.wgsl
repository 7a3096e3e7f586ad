// Matrix product: ternary weights, int8 activations.
#import "lib/weights/ternary.wgsl"
#import "lib/byte_products.wgsl"
#import "lib/int8_gemm.wgsl"
