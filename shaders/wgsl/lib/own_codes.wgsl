// int8 activations that every workgroup makes for itself of x, in workgroup memory: the codes and
// scales that quant_act.wgsl would have written, to the bit. That repeats them for every workgroup
// and saves a dispatch, so workgroups are larger than those that read codes.
#import "lib/quant_values.wgsl"

@group(0) @binding(3) var<storage, read> x: array<f32>;           // (ROWS, IN_DIM)
@group(0) @binding(4) var<storage, read> norm_weight: array<f32>; // (IN_DIM); not read without NORM

// Four weight rows each that a workgroup without subgroups computes.
const GROUP_QUADS: u32 = 8u;

override DIM: u32 = IN_DIM;
override CODE_STRIDE: u32 = (IN_DIM + 255u) / 256u * 16u;
override CODE_QUADS: u32 = ROWS * CODE_STRIDE;

var<workgroup> codes: array<vec4<u32>, CODE_QUADS>; // (ROWS, CODE_STRIDE) of 16 columns, zeros past IN_DIM
var<workgroup> row_scales: array<f32, ROWS>;        // (ROWS)

fn value(i: u32) -> f32 {
  return x[i];
}

fn prepare(lane: u32) {
  for (var r = 0u; r < active_rows(); r++) {
    let base = r * IN_DIM;
    let factor = norm_factor(base, lane);
    let scale = code_scale(base, lane, factor);
    for (var quad = lane; quad < CODE_STRIDE; quad += INVOCATIONS) {
      let i = 16u * quad;
      codes[r * CODE_STRIDE + quad] = vec4<u32>(
        code_word(base, i, factor, scale),
        code_word(base, i + 4u, factor, scale),
        code_word(base, i + 8u, factor, scale),
        code_word(base, i + 12u, factor, scale),
      );
    }
    if (lane == 0u) {
      row_scales[r] = scale;
    }
  }
  workgroupBarrier();
}
