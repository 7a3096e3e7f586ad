enable f16;
enable wgpu_cooperative_matrix;
// Matrix product by cooperative matrices with operands in f16 (the right one is stored so), see
// lib/gemm_cooperative.wgsl and lib/cooperative_64.wgsl.
#import "lib/operands_half_b.wgsl"
#import "lib/gemm_cooperative.wgsl"
#import "lib/gemm_patches.wgsl"
#import "lib/cooperative_64.wgsl"
