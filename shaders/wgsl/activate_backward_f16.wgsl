enable f16;
// Backward of an activation and what it is multiplied by, gradients kept in f16.
#import "lib/kept_f16.wgsl"
#import "lib/activate_backward.wgsl"
