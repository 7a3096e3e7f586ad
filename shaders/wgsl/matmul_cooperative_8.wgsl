enable f16;
enable wgpu_cooperative_matrix;
// Matrix product by cooperative matrices with operands rounded to f16, see
// lib/gemm_cooperative.wgsl and lib/cooperative_8.wgsl.
#import "lib/operands_f32.wgsl"
#import "lib/gemm_cooperative.wgsl"
#import "lib/gemm_patches.wgsl"
#import "lib/cooperative_8.wgsl"
