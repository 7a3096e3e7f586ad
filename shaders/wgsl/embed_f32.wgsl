// Embedding look-up in an F32 table: out[r] = table[ids[r]].
#import "lib/weights/f32.wgsl"
#import "lib/embed.wgsl"
