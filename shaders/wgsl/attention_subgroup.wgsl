// Causal attention over caches of f32, with subgroups.
#import "lib/attention_keys_f32.wgsl"
#import "lib/attention_subgroup.wgsl"
