// Causal attention over caches of int8.
#import "lib/attention_keys_q8.wgsl"
#import "lib/attention_workgroup.wgsl"
