// Matrix times vector: f32 weights, f32 activations.
#import "lib/weights/f32.wgsl"
#import "lib/float_gemv.wgsl"
