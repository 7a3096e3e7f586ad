// Forward weight of a latent with one scale for the tensor.
#import "lib/kept_f32.wgsl"
#import "lib/fake_quant_tensor.wgsl"
