enable f16;
// Forward weight of a latent with one scale for the tensor, kept in f16.
#import "lib/kept_f16.wgsl"
#import "lib/fake_quant_tensor.wgsl"
