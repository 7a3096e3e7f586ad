// int8 quantization and de-quantization of rows.
#import "lib/kept_f32.wgsl"
#import "lib/fake_quant_act.wgsl"
