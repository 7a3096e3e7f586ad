// Matrix product: eightbit weights, int8 activations.
#import "lib/weights/eightbit.wgsl"
#import "lib/byte_products.wgsl"
#import "lib/int8_gemm.wgsl"
