enable f16;
// Matrix product with operands in f16 (the right one is stored so) and sums in f32, see
// lib/gemm_f16.wgsl and lib/gemm_wide.wgsl.
#import "lib/operands_half_b.wgsl"
#import "lib/gemm_f16.wgsl"
#import "lib/gemm_wide.wgsl"
