//! Scalar functions written in plain f32 arithmetic: the same bits natively and in wasm, and loops over them vectorise.

/// e^x to about 2 ulp; 0 below −87.3, saturates at about 2.4e38 above 88.3.
///
/// 2^n · p(r) with n = round(x/ln 2), r = x − n·ln 2 (Cody & Waite), p the degree-6 Taylor form of Cephes `expf`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let clamped = x.clamp(-87.3, 88.3);
    // Adding 1.5·2^23 leaves the nearest integer in the low bits: no call, and no cast, which would keep loops scalar.
    const ROUND: f32 = 12_582_912.0;
    let shifted = clamped * core::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4f32;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let e = p * (r * r) + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    let pow2 = f32::from_bits(exponent.wrapping_add(127) << 23);
    if x < -87.3 { 0.0 } else { e * pow2 }
}

/// tanh by [`exp`]; odd, saturates to ±1.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs());
    // Below 1e-2 the quotient cancels; x − x³/3 is exact to f32 there.
    let t = if x.abs() < 1e-2 {
        let a = x.abs();
        a - a * a * a * (1.0 / 3.0)
    } else {
        (1.0 - e) / (1.0 + e)
    };
    t.copysign(x)
}

/// 1 / (1 + e^−x).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Nearest integer, half to even, for |x| ≤ 2²²: adding 1.5·2²³ leaves the integer in the mantissa. Never −0.
#[inline(always)]
pub fn round(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC) - MAGIC
}

/// binary16 to f32 by moving the exponent: exact for every finite value, subnormals included, and it vectorises everywhere.
#[inline(always)]
pub fn half(h: u16) -> f32 {
    let bits = u32::from(h);
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

/// f32 to binary16, half to even; beyond its range the largest finite value.
pub fn to_half(v: f32) -> u16 {
    // The range of binary16's exponents: 2⁻¹⁴ is its smallest normal number.
    const LARGEST: f32 = 65504.0;
    const SMALLEST_NORMAL: u32 = 0x3880_0000;
    const REBIAS: u32 = 112 << 23;
    let sign = (v.to_bits() >> 16) as u16 & 0x8000;
    let size = v.abs().min(LARGEST);
    let bits = size.to_bits();
    let half = if bits < SMALLEST_NORMAL {
        // The unit in the last place of 0.5 is binary16's smallest subnormal: the addition rounds.
        (size + 0.5).to_bits() - 0.5f32.to_bits()
    } else {
        (bits - REBIAS + 0xfff + (bits >> 13 & 1)) >> 13
    };
    sign | half as u16
}

/// Interleaved partial results of [`reduce`]: enough that the widest vectors hide the latency of an addition.
const LANES: usize = 32;

/// The two halves of `lanes`, one onto the other; lengths known when compiled keep them in registers.
#[inline(always)]
fn halve<const N: usize, const HALF: usize>(
    lanes: [f32; N],
    join: impl Fn(f32, f32) -> f32,
) -> [f32; HALF] {
    let mut out = [0f32; HALF];
    for i in 0..HALF {
        out[i] = join(lanes[i], lanes[i + HALF]);
    }
    out
}

/// `value` of every element of slices as long as the first, joined in interleaved lanes that begin at `start`, which must change
/// nothing: a fixed order that vectorises.
#[inline(always)]
pub fn reduce<const K: usize>(
    x: [&[f32]; K],
    start: f32,
    value: impl Fn([f32; K]) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let n = x[0].len();
    let chunks = x.map(|x| x[..n].as_chunks::<LANES>());
    let mut lanes = [start; LANES];
    for i in 0..n / LANES {
        let parts = chunks.map(|(whole, _)| &whole[i]);
        for l in 0..LANES {
            lanes[l] = join(lanes[l], value(parts.map(|part| part[l])));
        }
    }
    // Indexing `lanes` by a variable would move them to memory for the loop above, too.
    let rest = chunks.map(|(_, rest)| rest);
    if !rest[0].is_empty() {
        let mut part = [start; LANES];
        for (l, v) in part[..n % LANES].iter_mut().enumerate() {
            *v = value(rest.map(|rest| rest[l]));
        }
        for l in 0..LANES {
            lanes[l] = join(lanes[l], part[l]);
        }
    }
    let lanes: [f32; 16] = halve(lanes, &join);
    let lanes: [f32; 8] = halve(lanes, &join);
    let lanes: [f32; 4] = halve(lanes, &join);
    let lanes: [f32; 2] = halve(lanes, &join);
    join(lanes[0], lanes[1])
}

/// Σ f(x).
#[inline(always)]
pub fn sum_by<const K: usize>(x: [&[f32]; K], f: impl Fn([f32; K]) -> f32) -> f32 {
    reduce(x, 0.0, f, |a, b| a + b)
}

/// Largest f(x), −∞ for none; NaNs are passed over.
#[inline(always)]
pub fn max_by(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    reduce([x], f32::NEG_INFINITY, |[x]| f(x), larger)
}

#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    max_by(x, |v| v)
}

#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    sum_by([&a[..n], &b[..n]], |[a, b]| a * b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_tanh_follow_f64() {
        for i in -9000..9000 {
            let x = i as f32 * 0.01;
            let want = f64::from(x).exp();
            if x > -87.0 && x < 88.0 {
                let err = (f64::from(exp(x)) - want).abs() / want;
                assert!(err < 3e-7, "exp({x}): {err}");
            }
            let want = f64::from(x).tanh();
            assert!((f64::from(tanh(x)) - want).abs() < 2e-7, "tanh({x})");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(1000.0).is_finite());
        assert_eq!(tanh(0.0), 0.0);
    }

    #[test]
    fn halves_round_to_even_and_saturate() {
        let hard = [
            0.0,
            6e-8,
            2.9e-8,
            3e-8,
            6.1e-5,
            65503.9,
            65504.0,
            65519.9,
            1.0,
            1.000_488_3,
        ];
        let more =
            (0..200_000u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9) % 0x477f_e000));
        for v in hard.into_iter().chain(more) {
            for v in [v, -v] {
                let want = half::f16::from_f32(v.clamp(-65504.0, 65504.0));
                assert_eq!(to_half(v), want.to_bits(), "{v:e}");
                assert_eq!(half(want.to_bits()), want.to_f32());
            }
        }
        assert_eq!(to_half(1e9), 0x7bff);
    }

    #[test]
    fn dot_is_right_on_ragged_lengths() {
        for n in [0usize, 1, 3, 7, 8, 9, 65, 257] {
            let a: Vec<f32> = (0..n).map(|i| i as f32 * 0.5).collect();
            let want: f64 = a.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
            assert!((f64::from(dot(&a, &a)) - want).abs() <= want * 1e-6);
        }
    }
}
