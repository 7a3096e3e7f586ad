// Embedding look-up in an EightBit table: out[r] = table[ids[r]].
#import "lib/weights/eightbit.wgsl"
#import "lib/embed.wgsl"
