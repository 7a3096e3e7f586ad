enable f16;
enable wgpu_cooperative_matrix;
// Matrix product by cooperative matrices with operands stored in f16, see
// lib/gemm_cooperative.wgsl and lib/cooperative_128.wgsl.
#import "lib/operands_half.wgsl"
#import "lib/gemm_cooperative.wgsl"
#import "lib/gemm_vectors.wgsl"
#import "lib/gemm_out.wgsl"
#import "lib/cooperative_128.wgsl"
