enable f16;
enable wgpu_cooperative_matrix;
// Matrix product: ternary weights, int8 activations, by cooperative matrices, see
// lib/cooperative_8.wgsl.
#import "lib/weights/ternary.wgsl"
#import "lib/int8_gemm_cooperative.wgsl"
#import "lib/cooperative_8.wgsl"
