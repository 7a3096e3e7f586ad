// Matrix times vector: eightbit weights, f32 activations.
#import "lib/weights/eightbit.wgsl"
#import "lib/float_gemv.wgsl"
