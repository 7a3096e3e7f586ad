enable f16;
// Matrix product with operands rounded to f16 and sums in f32, see
// lib/gemm_f16.wgsl and lib/gemm_wide.wgsl.
#import "lib/operands_f32.wgsl"
#import "lib/gemm_f16.wgsl"
#import "lib/gemm_wide.wgsl"
