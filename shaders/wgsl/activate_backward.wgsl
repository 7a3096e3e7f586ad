// Backward of an activation and what it is multiplied by.
#import "lib/kept_f32.wgsl"
#import "lib/activate_backward.wgsl"
