// The quantizers of engine/src/quant/mod.rs. A scale covers a span of SPAN latents; its statistics
// take one pass, or two for TWN (the mean of what exceeds the threshold) and CENTERED (the
// deviation from the mean).
#import "lib/run_params.wgsl"
#import "lib/reduce.wgsl"

const EIGHT_BIT: u32 = 0u;
const TERNARY: u32 = 1u;
const TWN: u32 = 2u;
const BINARY: u32 = 3u;
const CENTERED: u32 = 4u;

override QUANTISER: u32;
override SPAN: u32;
override SCALED: bool; // false: codes stay unscaled
override CLAMP: f32;   // latents are clamped to ± this first; 0 = off
override ARENAS: bool; // run_params.arenas · W is added

struct Span {
  scale: f32,
  threshold: f32,
  center: f32,
  soft: f32, // size of the soft quantizer's output, the scale even when codes are unscaled
}

fn clamped(w: f32) -> f32 {
  if (CLAMP > 0.0) {
    return clamp(w, -CLAMP, CLAMP);
  }
  return w;
}

// What the first pass sums, or for EIGHT_BIT takes the maximum of.
fn first_term(w: f32) -> f32 {
  if (QUANTISER == CENTERED) {
    return clamped(w);
  }
  return abs(clamped(w));
}

fn join_first(a: f32, b: f32) -> f32 {
  if (QUANTISER == EIGHT_BIT) {
    return max(a, b);
  }
  return a + b;
}

fn reduce_first(lane: u32, value: f32) -> f32 {
  if (QUANTISER == EIGHT_BIT) {
    return reduce_max(lane, value);
  }
  return reduce_sum(lane, value);
}

// TWN's δ = 0.7·mean|W|, or the mean: what the second pass compares with.
fn pivot(first: f32) -> f32 {
  return select(first, 0.7 * first, QUANTISER == TWN) / f32(SPAN);
}

// What the second pass sums: sizes and their count.
fn second_term(w: f32, pivot: f32) -> vec2<f32> {
  let value = clamped(w);
  if (QUANTISER == TWN) {
    return select(vec2<f32>(), vec2<f32>(abs(value), 1.0), abs(value) > pivot);
  }
  return vec2<f32>(abs(value - pivot), 1.0);
}

fn two_passes() -> bool {
  return QUANTISER == TWN || QUANTISER == CENTERED;
}

fn span_of(first: f32, second: vec2<f32>) -> Span {
  var span: Span;
  if (QUANTISER == EIGHT_BIT) {
    span.soft = max(first / 127.0, 1e-10);
    span.scale = span.soft;
    return span;
  }
  var size = first / f32(SPAN);
  if (two_passes()) {
    size = second.x / max(second.y, 1.0);
  }
  if (QUANTISER == TWN) {
    span.threshold = pivot(first);
  }
  if (QUANTISER == CENTERED) {
    span.center = pivot(first);
  }
  span.soft = max(size, 1e-5);
  span.scale = select(1.0, span.soft, SCALED);
  return span;
}

fn code(span: Span, w: f32) -> f32 {
  switch (QUANTISER) {
    case EIGHT_BIT: {
      return clamp(round(w / span.scale), -127.0, 127.0);
    }
    case TERNARY: {
      return clamp(round(w / span.soft), -1.0, 1.0);
    }
    case TWN: {
      return f32(w > span.threshold) - f32(w < -span.threshold);
    }
    default: {
      return select(-1.0, 1.0, w >= span.center);
    }
  }
}

// The value the forward pass multiplies by.
fn forward_weight(span: Span, latent: f32) -> f32 {
  let w = clamped(latent);
  var value: f32;
  if (QUANTISER != EIGHT_BIT && run_params.anneal > 0.0) {
    // tanh is 1 in f32 from 10 on; its argument stays where every driver computes it.
    value = span.soft * tanh(clamp(run_params.anneal * ((w - span.center) / span.soft), -20.0, 20.0));
  } else {
    value = span.scale * code(span, w);
  }
  value += run_params.float_share * (w - value);
  if (ARENAS) {
    value += run_params.arenas * latent;
  }
  return value;
}
