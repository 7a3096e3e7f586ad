// f32 matrix product, see lib/gemm_wide.wgsl.
#import "lib/gemm_f32.wgsl"
#import "lib/gemm_wide.wgsl"
