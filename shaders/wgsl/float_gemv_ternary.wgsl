// Matrix times vector: ternary weights, f32 activations.
#import "lib/weights/ternary.wgsl"
#import "lib/float_gemv.wgsl"
