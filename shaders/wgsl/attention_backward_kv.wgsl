// Gradients of a key/value head.
#import "lib/kept_f32.wgsl"
#import "lib/attention_backward_kv.wgsl"
