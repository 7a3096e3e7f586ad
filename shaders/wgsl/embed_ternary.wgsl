// Embedding look-up in a ternary table: out[r] = table[ids[r]].
#import "lib/weights/ternary.wgsl"
#import "lib/embed.wgsl"
