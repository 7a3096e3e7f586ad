// Causal attention over caches of int8, with subgroups.
#import "lib/attention_keys_q8.wgsl"
#import "lib/attention_subgroup.wgsl"
