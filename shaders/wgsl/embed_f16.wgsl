// Embedding look-up in an F16 table: out[r] = table[ids[r]].
#import "lib/weights/f16.wgsl"
#import "lib/embed.wgsl"
