enable f16;
// Matrix product with operands stored in f16 and sums in f32, see
// lib/gemm_f16.wgsl and lib/gemm_wide.wgsl.
#import "lib/operands_half.wgsl"
#import "lib/gemm_f16.wgsl"
#import "lib/gemm_wide.wgsl"
