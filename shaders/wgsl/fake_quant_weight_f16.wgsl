enable f16;
// Forward weight of a latent with a scale per row or per group, kept in f16.
#import "lib/kept_f16.wgsl"
#import "lib/fake_quant_weight.wgsl"
