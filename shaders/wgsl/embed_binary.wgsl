// Embedding look-up in a binary table: out[r] = table[ids[r]].
#import "lib/weights/binary.wgsl"
#import "lib/embed.wgsl"
