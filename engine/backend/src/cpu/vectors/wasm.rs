//! Four floats at a time, and sums written out. A loop is a function of its own, called once for
//! whole vectors and once for what is left, laid out in one: so the function it was given stands in
//! it once, and is not called.

use std::arch::wasm32::*;
use std::ops::{Add, Div, Mul, Neg, Sub};

use ternary_core::math::{self, Lanes};

/// Four floats.
#[derive(Clone, Copy)]
pub struct Wide(v128);

macro_rules! operator {
    ($trait:ident, $name:ident, $of:ident) => {
        impl $trait for Wide {
            type Output = Self;

            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                Wide($of(self.0, other.0))
            }
        }
    };
}
operator!(Add, add, f32x4_add);
operator!(Sub, sub, f32x4_sub);
operator!(Mul, mul, f32x4_mul);
operator!(Div, div, f32x4_div);

impl Neg for Wide {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Wide(f32x4_neg(self.0))
    }
}

impl Lanes for Wide {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Wide(f32x4_splat(value))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Wide(f32x4_abs(self.0))
    }

    #[inline(always)]
    fn or_larger(self, other: Self) -> Self {
        Wide(f32x4_pmax(self.0, other.0))
    }

    #[inline(always)]
    fn clamp(self, least: f32, most: f32) -> Self {
        Wide(f32x4_min(
            f32x4_max(self.0, f32x4_splat(least)),
            f32x4_splat(most),
        ))
    }

    #[inline(always)]
    fn copysign(self, sign: Self) -> Self {
        Wide(v128_bitselect(sign.0, self.0, u32x4_splat(1 << 31)))
    }

    #[inline(always)]
    fn if_less(self, limit: f32, then: Self, otherwise: Self) -> Self {
        let less = f32x4_lt(self.0, f32x4_splat(limit));
        Wide(v128_bitselect(then.0, otherwise.0, less))
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        // The exponent's bias takes the place of the number's bits above n: all but eight are
        // shifted out.
        Wide(i32x4_shl(i32x4_add(self.0, i32x4_splat(127)), 23))
    }
}

/// Floats `4·i..4·i + 4`.
///
/// # Safety
/// They are in reach.
#[inline(always)]
unsafe fn load(x: *const f32, i: usize) -> Wide {
    // SAFETY: the caller's; v128_load has no alignment requirement.
    Wide(unsafe { v128_load(x.add(4 * i).cast()) })
}

/// As [`load`].
#[inline(always)]
unsafe fn store(out: *mut f32, i: usize, value: Wide) {
    // SAFETY: the caller's; v128_store has no alignment requirement.
    unsafe { v128_store(out.add(4 * i).cast(), value.0) }
}

/// What is left of `x[..n]` after whole vectors, in one.
fn rest(x: &[f32], n: usize) -> [f32; 4] {
    let mut last = [0.0; 4];
    last[..n % 4].copy_from_slice(&x[n / 4 * 4..n]);
    last
}

/// `out = f(out)`.
#[inline(always)]
pub fn update(out: &mut [f32], f: impl Fn(Wide) -> Wide) {
    /// Of so many vectors.
    ///
    /// # Safety
    /// They are in reach.
    unsafe fn whole(out: *mut f32, vectors: usize, f: &impl Fn(Wide) -> Wide) {
        for i in 0..vectors {
            // SAFETY: the caller's.
            unsafe { store(out, i, f(load(out, i))) };
        }
    }
    let n = out.len();
    // SAFETY: n floats hold so many vectors.
    unsafe { whole(out.as_mut_ptr(), n / 4, &f) };
    if !n.is_multiple_of(4) {
        let mut last = rest(out, n);
        // SAFETY: one vector.
        unsafe { whole(last.as_mut_ptr(), 1, &f) };
        out[n / 4 * 4..].copy_from_slice(&last[..n % 4]);
    }
}

/// `out = f(x, out)`.
#[inline(always)]
pub fn each(x: &[f32], out: &mut [f32], f: impl Fn(Wide, Wide) -> Wide) {
    /// Of so many vectors.
    ///
    /// # Safety
    /// They are in reach.
    unsafe fn whole(x: *const f32, out: *mut f32, vectors: usize, f: &impl Fn(Wide, Wide) -> Wide) {
        for i in 0..vectors {
            // SAFETY: the caller's.
            unsafe { store(out, i, f(load(x, i), load(out, i))) };
        }
    }
    let n = out.len().min(x.len());
    // SAFETY: n floats hold so many vectors.
    unsafe { whole(x.as_ptr(), out.as_mut_ptr(), n / 4, &f) };
    if !n.is_multiple_of(4) {
        let (last_x, mut last) = (rest(x, n), rest(out, n));
        // SAFETY: one vector each.
        unsafe { whole(last_x.as_ptr(), last.as_mut_ptr(), 1, &f) };
        out[n / 4 * 4..n].copy_from_slice(&last[..n % 4]);
    }
}

/// `out = f(x, y)`.
#[inline(always)]
pub fn each2(x: &[f32], y: &[f32], out: &mut [f32], f: impl Fn(Wide, Wide) -> Wide) {
    /// Of so many vectors.
    ///
    /// # Safety
    /// They are in reach.
    unsafe fn whole(
        x: *const f32,
        y: *const f32,
        out: *mut f32,
        vectors: usize,
        f: &impl Fn(Wide, Wide) -> Wide,
    ) {
        for i in 0..vectors {
            // SAFETY: the caller's.
            unsafe { store(out, i, f(load(x, i), load(y, i))) };
        }
    }
    let n = out.len().min(x.len()).min(y.len());
    // SAFETY: n floats hold so many vectors.
    unsafe { whole(x.as_ptr(), y.as_ptr(), out.as_mut_ptr(), n / 4, &f) };
    if !n.is_multiple_of(4) {
        let (last_x, last_y, mut last) = (rest(x, n), rest(y, n), [0.0; 4]);
        // SAFETY: one vector each.
        unsafe { whole(last_x.as_ptr(), last_y.as_ptr(), last.as_mut_ptr(), 1, &f) };
        out[n / 4 * 4..n].copy_from_slice(&last[..n % 4]);
    }
}

/// Every pair (low, high) turned: `low' = low·cos − high·sin`, `high' = high·cos + low·sin`, with
/// `sign` times the sine.
pub fn rotate(low: &mut [f32], high: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    let n = low.len().min(high.len()).min(cos.len()).min(sin.len());
    let signs = Wide::splat(sign);
    let (l, h) = (low.as_mut_ptr(), high.as_mut_ptr());
    for i in 0..n / 4 {
        // SAFETY: every slice holds n floats.
        unsafe {
            let (a, b) = (load(l, i), load(h, i));
            let (c, s) = (load(cos.as_ptr(), i), signs * load(sin.as_ptr(), i));
            store(l, i, a * c - b * s);
            store(h, i, b * c + a * s);
        }
    }
    for i in n / 4 * 4..n {
        let (a, b, c, s) = (low[i], high[i], cos[i], sign * sin[i]);
        low[i] = a * c - b * s;
        high[i] = b * c + a * s;
    }
}

/// `value` of every element of both, joined in the order of [`math::reduce`], as far as the shorter
/// one goes; with elements of `pad`, `value` must change nothing.
#[inline(always)]
fn reduce(
    a: &[f32],
    b: &[f32],
    (start, pad): (f32, f32),
    value: impl Fn(Wide, Wide) -> Wide,
    join: impl Fn(Wide, Wide) -> Wide,
) -> f32 {
    let n = a.len().min(b.len());
    let left = n / 32 * 32..n;
    let none = Wide::splat(start);
    let (mut s0, mut s1, mut s2, mut s3) = (none, none, none, none);
    let (mut s4, mut s5, mut s6, mut s7) = (none, none, none, none);
    let mut last;
    let (mut at_a, mut at_b, mut blocks) = (a.as_ptr(), b.as_ptr(), n / 32);
    // Whole blocks, then what is left as one.
    let mut whole = true;
    loop {
        for _ in 0..blocks {
            // SAFETY: n floats hold so many blocks of 32, and each of `last` one.
            unsafe {
                s0 = join(s0, value(load(at_a, 0), load(at_b, 0)));
                s1 = join(s1, value(load(at_a, 1), load(at_b, 1)));
                s2 = join(s2, value(load(at_a, 2), load(at_b, 2)));
                s3 = join(s3, value(load(at_a, 3), load(at_b, 3)));
                s4 = join(s4, value(load(at_a, 4), load(at_b, 4)));
                s5 = join(s5, value(load(at_a, 5), load(at_b, 5)));
                s6 = join(s6, value(load(at_a, 6), load(at_b, 6)));
                s7 = join(s7, value(load(at_a, 7), load(at_b, 7)));
                (at_a, at_b) = (at_a.add(32), at_b.add(32));
            }
        }
        if !whole || left.is_empty() {
            break;
        }
        whole = false;
        last = [[pad; 32]; 2];
        last[0][..left.len()].copy_from_slice(&a[left.clone()]);
        last[1][..left.len()].copy_from_slice(&b[left.clone()]);
        (at_a, at_b, blocks) = (last[0].as_ptr(), last[1].as_ptr(), 1);
    }
    let (s0, s1, s2, s3) = (join(s0, s4), join(s1, s5), join(s2, s6), join(s3, s7));
    let (s0, s1) = (join(s0, s2), join(s1, s3));
    let lanes = join(s0, s1);
    let pair = join(lanes, Wide(i32x4_shuffle::<2, 3, 0, 1>(lanes.0, lanes.0)));
    let one = join(pair, Wide(i32x4_shuffle::<1, 0, 3, 2>(pair.0, pair.0)));
    f32x4_extract_lane::<0>(one.0)
}

pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    reduce(a, b, (0.0, 0.0), |a, b| a * b, |a, b| a + b)
}

pub fn sum(x: &[f32]) -> f32 {
    reduce(x, x, (0.0, 0.0), |x, _| x, |a, b| a + b)
}

/// Largest element, −∞ for none; NaNs are passed over.
pub fn max(x: &[f32]) -> f32 {
    const NONE: f32 = f32::NEG_INFINITY;
    reduce(x, x, (NONE, NONE), |x, _| x, Lanes::or_larger)
}

/// The largest size of an element.
pub fn absmax(x: &[f32]) -> f32 {
    reduce(
        x,
        x,
        (f32::NEG_INFINITY, 0.0),
        |x, _| x.abs(),
        Lanes::or_larger,
    )
}

/// `x / scale`, rounded; the scale keeps it within ±127.
pub fn codes(x: &[f32], scale: f32, codes: &mut [i8]) {
    let (x, rest) = x.as_chunks::<16>();
    let (codes, last) = codes.as_chunks_mut::<16>();
    let divisor = f32x4_splat(scale);
    for (x, codes) in x.iter().zip(codes) {
        // SAFETY: the arrays hold 16 floats and 16 bytes; v128_store has no alignment requirement.
        unsafe {
            let round = |i| {
                let quotient = f32x4_div(load(x.as_ptr(), i).0, divisor);
                i32x4_trunc_sat_f32x4(f32x4_nearest(quotient))
            };
            let low = i16x8_narrow_i32x4(round(0), round(1));
            let high = i16x8_narrow_i32x4(round(2), round(3));
            v128_store(codes.as_mut_ptr().cast(), i8x16_narrow_i16x8(low, high));
        }
    }
    for (c, v) in last.iter_mut().zip(rest) {
        *c = math::rounded_byte(v / scale);
    }
}
