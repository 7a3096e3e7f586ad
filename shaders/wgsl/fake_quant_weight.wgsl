// Forward weight of a latent with a scale per row or per group.
#import "lib/kept_f32.wgsl"
#import "lib/fake_quant_weight.wgsl"
