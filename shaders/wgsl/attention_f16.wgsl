// Causal attention over caches of binary16, two in a word.
#import "lib/attention_keys_f16.wgsl"
#import "lib/attention_workgroup.wgsl"
