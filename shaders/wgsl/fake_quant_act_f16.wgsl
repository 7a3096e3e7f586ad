enable f16;
// int8 quantization and de-quantization of rows, kept in f16.
#import "lib/kept_f16.wgsl"
#import "lib/fake_quant_act.wgsl"
