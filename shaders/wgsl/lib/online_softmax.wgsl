// Maximum of the values an invocation has seen, and Σ e^(value − maximum) beside it, in one pass
// (Milakov & Gimelshein 2018).
const LOWEST: f32 = -3e38;

struct Online {
  maximum: f32,
  sum: f32,
}

// e^d for d ≤ 0, without leaving the range of f32; not by `max`, which would swallow a NaN.
fn shrink(d: f32) -> f32 {
  return exp(select(d, -87.0, d < -87.0));
}

fn see(seen: Online, value: f32) -> Online {
  if (value > seen.maximum) {
    return Online(value, seen.sum * shrink(seen.maximum - value) + 1.0);
  }
  return Online(seen.maximum, seen.sum + shrink(value - seen.maximum));
}
