// Causal attention over caches of f32.
#import "lib/attention_keys_f32.wgsl"
#import "lib/attention_workgroup.wgsl"
