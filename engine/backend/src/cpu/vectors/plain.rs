use ternary_core::math;
pub use ternary_core::math::{dot, max};

pub type Wide = f32;

/// `out = f(out)`.
#[inline(always)]
pub fn update(out: &mut [f32], f: impl Fn(Wide) -> Wide) {
    for o in out {
        *o = f(*o);
    }
}

/// `out = f(x, out)`.
#[inline(always)]
pub fn each(x: &[f32], out: &mut [f32], f: impl Fn(Wide, Wide) -> Wide) {
    for (o, x) in out.iter_mut().zip(x) {
        *o = f(*x, *o);
    }
}

/// `out = f(x, y)`.
#[inline(always)]
pub fn each2(x: &[f32], y: &[f32], out: &mut [f32], f: impl Fn(Wide, Wide) -> Wide) {
    for ((o, x), y) in out.iter_mut().zip(x).zip(y) {
        *o = f(*x, *y);
    }
}

/// Every pair (low, high) turned: `low' = low·cos − high·sin`, `high' = high·cos + low·sin`, with
/// `sign` times the sine.
#[inline(always)]
pub fn rotate(low: &mut [f32], high: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    for (((l, h), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (a, b, s) = (*l, *h, sign * s);
        *l = a * c - b * s;
        *h = b * c + a * s;
    }
}

#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    math::sum_by([x], |[x]| x)
}

/// The largest size of an element.
#[inline(always)]
pub fn absmax(x: &[f32]) -> f32 {
    math::max_by(x, f32::abs)
}

/// `x / scale`, rounded; the scale keeps it within ±127.
#[inline(always)]
pub fn codes(x: &[f32], scale: f32, codes: &mut [i8]) {
    for (c, v) in codes.iter_mut().zip(x) {
        *c = math::rounded_byte(v / scale);
    }
}
