// The non-linearities of the MLP.
override ACTIVATION: u32;

const GELU: u32 = 0u;
const SILU: u32 = 1u;
const RELU2: u32 = 2u;

// Arguments are clamped where the function has saturated, so that nothing overflows.
fn act(x: f32) -> f32 {
  switch (ACTIVATION) {
    case GELU: {
      // Tanh form; beyond ±15 tanh is ±1 in f32.
      let bounded = clamp(x, -30.0, 30.0);
      let inner = 0.7978845608 * (bounded + 0.044715 * bounded * bounded * bounded);
      return 0.5 * x * (1.0 + tanh(clamp(inner, -15.0, 15.0)));
    }
    case SILU: {
      return x / (1.0 + exp(min(-x, 87.0)));
    }
    default: {
      let positive = clamp(x, 0.0, 1e18);
      return positive * positive;
    }
  }
}
