// Matrix product: binary weights, int8 activations.
#import "lib/weights/binary.wgsl"
#import "lib/byte_products.wgsl"
#import "lib/int8_gemm.wgsl"
