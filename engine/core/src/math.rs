//! Functions written in plain f32 arithmetic: the same bits natively and in wasm, and loops over
//! them vectorize. Those that loops call are written for [`Lanes`]: where the compiler makes no
//! vectors, a loop brings its own.

use core::ops::{Add, Div, Mul, Neg, Sub};

/// √(2/π) and the cubic coefficient of GELU's tanh form (Hendrycks and Gimpel 2016).
pub const SQRT_2_OVER_PI: f32 = 0.797_884_6;
/// The cubic term of GELU's tanh form (Hendrycks & Gimpel 2016).
pub const GELU_CUBIC: f32 = 0.044_715;

/// One f32, or a vector of them, each treated alike.
pub trait Lanes:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// `value` in every lane.
    fn splat(value: f32) -> Self;
    /// Without the sign.
    fn abs(self) -> Self;
    /// The larger one; `self` where `other` is no number.
    fn or_larger(self, other: Self) -> Self;
    /// NaN stays NaN.
    fn clamp(self, least: f32, most: f32) -> Self;
    /// With the sign of `sign`.
    fn copysign(self, sign: Self) -> Self;
    /// `then` where `self < limit`, `otherwise` elsewhere.
    fn if_less(self, limit: f32, then: Self, otherwise: Self) -> Self;
    /// 2^n of 1.5·2²³ + n, for whole n of −126 to 127.
    fn power_of_two(self) -> Self;
}

/// Added, it leaves the nearest integer in a float's low bits: no call, and no cast, which would
/// keep loops scalar.
const ROUND: f32 = 12_582_912.0;

impl Lanes for f32 {
    #[inline(always)]
    fn splat(value: f32) -> f32 {
        value
    }

    #[inline(always)]
    fn abs(self) -> f32 {
        f32::abs(self)
    }

    #[inline(always)]
    fn or_larger(self, other: f32) -> f32 {
        if other > self { other } else { self }
    }

    #[inline(always)]
    fn clamp(self, least: f32, most: f32) -> f32 {
        f32::clamp(self, least, most)
    }

    #[inline(always)]
    fn copysign(self, sign: f32) -> f32 {
        f32::copysign(self, sign)
    }

    #[inline(always)]
    fn if_less(self, limit: f32, then: f32, otherwise: f32) -> f32 {
        if self < limit { then } else { otherwise }
    }

    #[inline(always)]
    fn power_of_two(self) -> f32 {
        let n = self.to_bits().wrapping_sub(ROUND.to_bits());
        f32::from_bits(n.wrapping_add(127) << 23)
    }
}

/// e^x to about 2 ulp; 0 below −87.3, saturates at about 2.4e38 above 88.3.
///
/// 2^n · p(r) with n = round(x/ln 2), r = x − n·ln 2 (Cody & Waite), p the degree-6 Taylor form of
/// Cephes `expf`.
#[inline(always)]
pub fn exp<V: Lanes>(x: V) -> V {
    let c = V::splat;
    let clamped = x.clamp(-87.3, 88.3);
    let shifted = clamped * c(core::f32::consts::LOG2_E) + c(ROUND);
    let n = shifted - c(ROUND);
    let r = clamped - n * c(0.693_359_4) - n * c(-2.121_944_4e-4);
    let mut p = c(1.987_569_1e-4);
    p = p * r + c(1.398_199_9e-3);
    p = p * r + c(8.333_452e-3);
    p = p * r + c(4.166_579_6e-2);
    p = p * r + c(1.666_666_5e-1);
    p = p * r + c(5e-1);
    let e = p * (r * r) + r + c(1.0);
    x.if_less(-87.3, c(0.0), e * shifted.power_of_two())
}

/// tanh by [`exp`]; odd, saturates to ±1.
#[inline(always)]
pub fn tanh<V: Lanes>(x: V) -> V {
    let c = V::splat;
    let a = x.abs();
    let e = exp(c(-2.0) * a);
    // Below 1e-2 the quotient cancels; x − x³/3 is exact to f32 there.
    let small = a - a * a * a * c(1.0 / 3.0);
    let t = a.if_less(1e-2, small, (c(1.0) - e) / (c(1.0) + e));
    t.copysign(x)
}

/// 1 − Φ(|x|) of the standard normal distribution: half of erfc(|x|/√2), by the Chebyshev fit of
/// Numerical Recipes (§6.2), whose relative error is below 1.2e-7.
#[inline(always)]
fn normal_tail<V: Lanes>(x: V) -> V {
    let c = V::splat;
    let z = x.abs() * c(core::f32::consts::FRAC_1_SQRT_2);
    let t = c(1.0) / (c(1.0) + c(0.5) * z);
    let mut p = c(0.170_872_76);
    p = p * t + c(-0.822_152_26);
    p = p * t + c(1.488_515_9);
    p = p * t + c(-1.135_204);
    p = p * t + c(0.278_868_08);
    p = p * t + c(-0.186_288_06);
    p = p * t + c(0.096_784_18);
    p = p * t + c(0.374_091_95);
    p = p * t + c(1.000_023_7);
    p = p * t + c(-1.265_512_2);
    c(0.5) * t * exp(p - z * z)
}

/// Φ(x), the share of the standard normal distribution below x.
#[inline(always)]
pub fn normal_cdf<V: Lanes>(x: V) -> V {
    let tail = normal_tail(x);
    x.if_less(0.0, tail, V::splat(1.0) - tail)
}

/// The standard normal distribution's density, e^(−x²/2)/√(2π).
#[inline(always)]
pub fn normal_density<V: Lanes>(x: V) -> V {
    V::splat(0.398_942_3) * exp(V::splat(-0.5) * x * x)
}

/// 1 / (1 + e^−x).
#[inline(always)]
pub fn sigmoid<V: Lanes>(x: V) -> V {
    V::splat(1.0) / (V::splat(1.0) + exp(-x))
}

/// Nearest integer, half to even, for |x| ≤ 2²²: adding 1.5·2²³ leaves the integer in the mantissa.
/// Never −0.
#[inline(always)]
pub fn round<V: Lanes>(x: V) -> V {
    (x + V::splat(ROUND)) - V::splat(ROUND)
}

/// [`round`] as a byte, for |x| ≤ 127: taken from the mantissa, because a cast to an integer has to
/// look for what is out of its range, which is slower than the rounding.
#[inline(always)]
pub fn rounded_byte(x: f32) -> i8 {
    (x + ROUND).to_bits() as i8
}

/// As [`rounded_byte`], as an integer of 16 bits, for |x| ≤ 32,767.
#[inline(always)]
pub fn rounded_short(x: f32) -> i16 {
    (x + ROUND).to_bits() as i16
}

/// As [`rounded_byte`], as an integer, for |x| < 2²².
#[inline(always)]
pub fn rounded(x: f32) -> i32 {
    (x + ROUND).to_bits() as i32 - ROUND.to_bits() as i32
}

/// The bits of |x|, which are in the order of the numbers: those of infinities and NaN are larger
/// than all others.
#[inline(always)]
pub fn magnitude(x: f32) -> u32 {
    x.to_bits() & 0x7fff_ffff
}

/// binary16 to f32 by moving the exponent: exact for every finite value, subnormals included, and
/// it vectorizes everywhere.
#[inline(always)]
pub fn half(h: u16) -> f32 {
    let bits = u32::from(h);
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

/// f32 to binary16, half to even; beyond its range the largest finite value.
#[inline]
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

/// Interleaved partial results of [`reduce`]: enough that the widest vectors hide the latency of an
/// addition.
const LANES: usize = 32;

/// The two halves of `lanes`, one onto the other; lengths known when compiled keep them in
/// registers.
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

/// `value` of every element of slices as long as the first, joined in interleaved lanes that begin
/// at `start`, which must change nothing: a fixed order that vectorizes.
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
    reduce([x], f32::NEG_INFINITY, |[x]| f(x), f32::or_larger)
}

/// The largest value, −∞ of none; NaNs are passed over.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    max_by(x, |v| v)
}

/// Σ a·b over as many as both have.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    sum_by([&a[..n], &b[..n]], |[a, b]| a * b)
}

/// Σ a·b in sixteen partial sums, added by halves: how attention multiplies queries with keys. Half
/// as many as [`dot`] has: heads are short, and sixteen keys at a time make full vectors of them.
pub fn dot_of_keys(a: &[f32], b: &[f32]) -> f32 {
    const SUMS: usize = 16;
    let mut sums = [0f32; SUMS];
    for (a, b) in a.chunks(SUMS).zip(b.chunks(SUMS)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let sums: [f32; 8] = halve(sums, |a, b| a + b);
    let sums: [f32; 4] = halve(sums, |a, b| a + b);
    let sums: [f32; 2] = halve(sums, |a, b| a + b);
    sums[0] + sums[1]
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
    fn a_rounded_byte_is_the_rounded_number() {
        for i in -127 * 64..=127 * 64 {
            let x = i as f32 / 64.0;
            assert_eq!(f32::from(rounded_byte(x)), round(x), "{x}");
        }
        assert_eq!(rounded_byte(f32::NAN), 0);
    }

    #[test]
    fn the_normal_distribution_follows_f64() {
        for i in -600..=600 {
            let x = i as f32 / 100.0;
            let wide = f64::from(x);
            let cdf = 0.5 * libm::erfc(-wide / core::f64::consts::SQRT_2);
            assert!((f64::from(normal_cdf(x)) - cdf).abs() < 2e-7, "Φ({x})");
            let density = (-0.5 * wide * wide).exp() / (2.0 * core::f64::consts::PI).sqrt();
            assert!(
                (f64::from(normal_density(x)) - density).abs() < 1e-7,
                "φ({x})"
            );
        }
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
            assert!((f64::from(dot_of_keys(&a, &a)) - want).abs() <= want * 1e-6);
        }
    }
}
