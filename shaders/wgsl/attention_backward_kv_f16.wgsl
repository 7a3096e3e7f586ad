enable f16;
// Gradients of a key/value head, kept in f16.
#import "lib/kept_f16.wgsl"
#import "lib/attention_backward_kv.wgsl"
