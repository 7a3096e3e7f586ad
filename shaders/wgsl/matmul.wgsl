// f32 matrix product, see lib/gemm.wgsl and lib/gemm_tile.wgsl.
#import "lib/gemm_f32.wgsl"
#import "lib/gemm_tile.wgsl"
