// The non-linearities of the MLP.
override ACTIVATION: u32;

const GELU: u32 = 0u;
const SILU: u32 = 1u;
const RELU2: u32 = 2u;
const GELU_ERF: u32 = 3u;

// GELU's tanh form, as in ternary_core::math.
const SQRT_2_OVER_PI = 0.7978845608;
const GELU_CUBIC = 0.044715;

// x / (1 + e^−t): 0 where the quotient has vanished, x where the exponential has, so that nothing
// overflows.
fn gated(x: f32, t: f32) -> f32 {
  if (t < -80.0) {
    return 0.0;
  }
  return x / (1.0 + exp(-min(t, 80.0)));
}

// The normal distribution's share below x, as in ternary_core::math.
fn normal_cdf(x: f32) -> f32 {
  let z = min(abs(x) * 0.7071067812, 9.0);
  let t = 1.0 / (1.0 + 0.5 * z);
  var p = 0.17087277;
  p = p * t - 0.82215223;
  p = p * t + 1.48851587;
  p = p * t - 1.13520398;
  p = p * t + 0.27886807;
  p = p * t - 0.18628806;
  p = p * t + 0.09678418;
  p = p * t + 0.37409196;
  p = p * t + 1.00002368;
  p = p * t - 1.26551223;
  // Beyond, no factor may make something of what is as good as nothing.
  let tail = select(0.5 * t * exp(p - z * z), 0.0, z >= 9.0);
  return select(1.0 - tail, tail, x < 0.0);
}

fn act(x: f32) -> f32 {
  switch (ACTIVATION) {
    case GELU: {
      // 0.5·x·(1 + tanh(u)) = x / (1 + e^−2u), which does not cancel for negative x.
      let bounded = clamp(x, -30.0, 30.0);
      return gated(x, 2.0 * SQRT_2_OVER_PI * (bounded + GELU_CUBIC * bounded * bounded * bounded));
    }
    case SILU: {
      return gated(x, x);
    }
    case RELU2: {
      let positive = clamp(x, 0.0, 1e18);
      return positive * positive;
    }
    case GELU_ERF: {
      return x * normal_cdf(x);
    }
    // None of them: a wrong number that every test of the operation sees.
    default: {
      return -12345.0;
    }
  }
}

// The derivative of `act`.
fn act_gradient(x: f32) -> f32 {
  switch (ACTIVATION) {
    case GELU: {
      // With s = sigmoid(2u): act' = s + x·2·s·(1 − s)·u', and 1 − s = sigmoid(−2u), which does not
      // cancel.
      let bounded = clamp(x, -30.0, 30.0);
      let u = SQRT_2_OVER_PI * (bounded + GELU_CUBIC * bounded * bounded * bounded);
      let slope = SQRT_2_OVER_PI * (1.0 + 3.0 * GELU_CUBIC * bounded * bounded);
      let s = gated(1.0, 2.0 * u);
      return s + 2.0 * bounded * s * gated(1.0, -2.0 * u) * slope;
    }
    case SILU: {
      let s = gated(1.0, x);
      return s + s * gated(x, -x);
    }
    case RELU2: {
      return 2.0 * clamp(x, 0.0, 1e18);
    }
    case GELU_ERF: {
      let bounded = clamp(x, -12.0, 12.0);
      let density = select(0.3989423 * exp(-0.5 * bounded * bounded), 0.0, abs(x) >= 12.0);
      return normal_cdf(x) + bounded * density;
    }
    default: {
      return -12345.0;
    }
  }
}
