// Matrix times vector: f16 weights, f32 activations.
#import "lib/weights/f16.wgsl"
#import "lib/float_gemv.wgsl"
