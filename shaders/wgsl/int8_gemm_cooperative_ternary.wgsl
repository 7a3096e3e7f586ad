enable f16;
enable wgpu_cooperative_matrix;
// Matrix product: ternary weights, int8 activations, by cooperative matrices.
#import "lib/weights/ternary.wgsl"
#import "lib/int8_gemm_cooperative.wgsl"
