// SOFTCAP · tanh(x / SOFTCAP); x itself where SOFTCAP is 0.
override SOFTCAP: f32;

// tanh, which some drivers let overflow.
fn bounded_tanh(x: f32) -> f32 {
  return tanh(clamp(x, -15.0, 15.0));
}

fn capped(x: f32) -> f32 {
  if (SOFTCAP == 0.0) {
    return x;
  }
  return SOFTCAP * bounded_tanh(x / SOFTCAP);
}
