enable f16;
enable wgpu_cooperative_matrix;
// Matrix product: binary weights, int8 activations, by cooperative matrices, see
// lib/cooperative_128.wgsl.
#import "lib/weights/binary.wgsl"
#import "lib/int8_gemm_cooperative.wgsl"
#import "lib/cooperative_128.wgsl"
