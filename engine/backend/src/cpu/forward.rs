//! Element-wise and per-row operations of the forward pass.

use super::attention::softcap;
use super::simd::multiversion;
use super::vectors::{self, Wide};
use ternary_common::platform::par;
use ternary_core::config::Activation;
use ternary_core::math::{self, GELU_CUBIC, Lanes, SQRT_2_OVER_PI};
use ternary_core::quant::tile::act_stride;

/// Token rows handled by one task.
const BAND: usize = 16;

/// The same of `rows`, so that each thread has some where there are few.
fn band(rows: usize) -> usize {
    rows.div_ceil(2 * par::threads()).clamp(1, BAND)
}

multiversion! {
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        vectors::dot(a, b)
    }
}

multiversion! {
    /// Row-wise RMSNorm of one row of `groups` × `dim`; returns nothing, writes 1/rms of each group
    /// when asked.
    fn norm_row(x: &[f32], weight: &[f32], out: &mut [f32], rstd: &mut [f32], eps: f32) {
        let dim = weight.len();
        for (g, (x, out)) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)).enumerate() {
            let r = 1.0 / (vectors::dot(x, x) / dim as f32 + eps).sqrt();
            vectors::each2(x, weight, out, |x, w| x * Wide::splat(r) * w);
            if let Some(slot) = rstd.get_mut(g) {
                *slot = r;
            }
        }
    }
}

/// `rstd` is empty when the backward does not need it.
pub fn rms_norm(
    x: &[f32],
    weight: &[f32],
    out: &mut [f32],
    rstd: &mut [f32],
    groups: usize,
    eps: f32,
) {
    let width = groups * weight.len();
    if rstd.is_empty() {
        par::pieces(out, BAND * width, x.len(), |i, out| {
            for (r, out) in out.chunks_exact_mut(width).enumerate() {
                let at = (i * BAND + r) * width;
                norm_row(&x[at..at + width], weight, out, &mut [], eps);
            }
        });
    } else {
        par::pieces2(
            out,
            BAND * width,
            rstd,
            BAND * groups,
            x.len(),
            |i, out, rstd| {
                let rows = out
                    .chunks_exact_mut(width)
                    .zip(rstd.chunks_exact_mut(groups));
                for (r, (out, rstd)) in rows.enumerate() {
                    let at = (i * BAND + r) * width;
                    norm_row(&x[at..at + width], weight, out, rstd, eps);
                }
            },
        );
    }
}

multiversion! {
    fn center_row(x: &[f32], out: &mut [f32], accumulate: bool) {
        let mean = Wide::splat(vectors::sum(x) / x.len() as f32);
        if accumulate {
            vectors::each(x, out, |x, out| out + (x - mean));
        } else {
            vectors::each(x, out, |x, _| x - mean);
        }
    }
}

/// See [`ternary_model::program::Op::Center`].
pub fn center(x: &[f32], out: &mut [f32], dim: usize, accumulate: bool) {
    par::pieces(out, BAND * dim, x.len(), |i, out| {
        for (r, out) in out.chunks_exact_mut(dim).enumerate() {
            center_row(&x[(i * BAND + r) * dim..][..dim], out, accumulate);
        }
    });
}

/// `x[r] += bias`.
pub fn add_bias(x: &mut [f32], bias: &[f32]) {
    let work = x.len();
    par::pieces(x, BAND * bias.len(), work, |_, x| {
        for x in x.chunks_exact_mut(bias.len()) {
            axpy_chunk(bias, 1.0, x);
        }
    });
}

multiversion! {
    fn softcap_chunk(x: &mut [f32], cap: f32) {
        vectors::update(x, |x| softcap(x, cap));
    }
}

/// `x = cap · tanh(x / cap)`.
pub fn softcap_all(x: &mut [f32], cap: f32) {
    let work = x.len() * 8;
    par::pieces(x, CHUNK, work, |_, x| softcap_chunk(x, cap));
}

multiversion! {
    /// Scale of one row: max(absmax, 1e-5) / 127.
    fn act_scale(x: &[f32]) -> f32 {
        vectors::absmax(x).max(1e-5) / 127.0
    }
}

multiversion! {
    /// Rounded to binary16, as its bits.
    pub fn to_halves(x: &[f32], out: &mut [u16]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = math::to_half(*x);
        }
    }
}

multiversion! {
    fn codes_row(x: &[f32], scale: f32, codes: &mut [i8]) {
        vectors::codes(x, scale, codes);
    }
}

/// Heads of `dim` as codes, each with its scale (f32, little-endian) behind it.
pub fn to_scaled_codes(x: &[f32], dim: usize, out: &mut [i8]) {
    let heads = out.chunks_exact_mut(dim + size_of::<f32>());
    for (x, head) in x.chunks_exact(dim).zip(heads) {
        let (codes, behind) = head.split_at_mut(dim);
        let scale = act_scale(x);
        codes_row(x, scale, codes);
        behind.copy_from_slice(bytemuck::cast_slice(&scale.to_le_bytes()));
    }
}

/// Per-token int8; `norm` = (weight, eps) normalizes each row first.
pub fn quant_act(
    x: &[f32],
    norm: Option<(&[f32], f32)>,
    codes: &mut [i8],
    scales: &mut [f32],
    dim: usize,
) {
    let stride = act_stride(dim);
    let rows = scales.len();
    let band = band(rows);
    // A row is gone through three times, and its codes take divisions.
    let work = par::work([rows, dim, 4]);
    par::pieces2(
        codes,
        band * stride,
        scales,
        band,
        work,
        |i, codes, scales| {
            let mut normed = vec![0f32; dim];
            for (r, (codes, scale)) in codes.chunks_exact_mut(stride).zip(scales).enumerate() {
                let at = (i * band + r) * dim;
                let mut row = &x[at..at + dim];
                if let Some((weight, eps)) = norm {
                    norm_row(row, weight, &mut normed, &mut [], eps);
                    row = &normed;
                }
                *scale = act_scale(row);
                codes_row(row, *scale, &mut codes[..dim]);
                codes[dim..].fill(0);
            }
        },
    );
}

multiversion! {
    fn fake_quant_row(x: &[f32], scale: f32, out: &mut [f32]) {
        let scale = Wide::splat(scale);
        vectors::each(x, out, |x, _| math::round(x / scale) * scale);
    }
}

/// Every row of `dim` elements rounded to codes times its scale.
pub fn fake_quant_act(x: &[f32], out: &mut [f32], scales: &mut [f32], dim: usize) {
    par::pieces2(out, BAND * dim, scales, BAND, x.len(), |i, out, scales| {
        for (r, (out, scale)) in out.chunks_exact_mut(dim).zip(scales).enumerate() {
            let row = &x[(i * BAND + r) * dim..][..dim];
            *scale = act_scale(row);
            fake_quant_row(row, *scale, out);
        }
    });
}

multiversion! {
    /// One row, head after head; `table` `[cos, sin]` of its position.
    fn rope_row(row: &mut [f32], table: &[f32], head_dim: usize, inverse: bool) {
        let half = table.len() / 2;
        let (cos, sin) = table.split_at(half);
        let sign = if inverse { -1.0 } else { 1.0 };
        for head in row.chunks_exact_mut(head_dim) {
            let (low, high) = head[..2 * half].split_at_mut(half);
            vectors::rotate(low, high, cos, sin, sign);
        }
    }
}

/// Rotate-half RoPE in place; `position(r)` gives row r's position. See
/// [`ternary_model::program::Op::Rope`].
#[allow(clippy::too_many_arguments)]
pub fn rope(
    x: &mut [f32],
    table: &[f32],
    width: usize,
    head_dim: usize,
    rotary: usize,
    inverse: bool,
    position: impl Fn(usize) -> usize + Sync + Send,
) {
    let work = x.len();
    par::pieces(x, BAND * width, work, |i, x| {
        for (r, row) in x.chunks_exact_mut(width).enumerate() {
            let at = position(i * BAND + r) * rotary;
            rope_row(row, &table[at..at + rotary], head_dim, inverse);
        }
    });
}

#[inline(always)]
fn act<V: Lanes>(activation: Activation, x: V) -> V {
    let c = V::splat;
    match activation {
        Activation::Gelu => c(0.5) * x * (c(1.0) + math::tanh(gelu_inner(x))),
        Activation::GeluErf => x * math::normal_cdf(x),
        Activation::Silu => x * math::sigmoid(x),
        Activation::Relu2 => {
            let r = c(0.0).or_larger(x);
            r * r
        }
    }
}

#[inline(always)]
fn gelu_inner<V: Lanes>(x: V) -> V {
    V::splat(SQRT_2_OVER_PI) * (x + V::splat(GELU_CUBIC) * x * x * x)
}

/// Derivative of [`act`].
#[inline(always)]
fn act_grad<V: Lanes>(activation: Activation, x: V) -> V {
    let c = V::splat;
    match activation {
        Activation::Gelu => {
            let t = math::tanh(gelu_inner(x));
            let inner = c(SQRT_2_OVER_PI) * (c(1.0) + c(3.0 * GELU_CUBIC) * x * x);
            c(0.5) * (c(1.0) + t) + c(0.5) * x * (c(1.0) - t * t) * inner
        }
        Activation::GeluErf => math::normal_cdf(x) + x * math::normal_density(x),
        Activation::Silu => {
            let s = math::sigmoid(x);
            s * (c(1.0) + x * (c(1.0) - s))
        }
        Activation::Relu2 => c(2.0) * c(0.0).or_larger(x),
    }
}

/// Elements handled by one task of an element-wise operation.
const CHUNK: usize = 1 << 13;

multiversion! {
    fn activate_chunk(activation: Activation, gate: &[f32], up: Option<&[f32]>, out: &mut [f32]) {
        macro_rules! all {
            ($a:expr) => {
                match up {
                    Some(up) => vectors::each2(gate, up, out, |g, u| act($a, g) * u),
                    None => vectors::each(gate, out, |g, _| act($a, g)),
                }
            };
        }
        // One loop per activation: a branch inside would keep it scalar.
        match activation {
            Activation::Gelu => all!(Activation::Gelu),
            Activation::GeluErf => all!(Activation::GeluErf),
            Activation::Silu => all!(Activation::Silu),
            Activation::Relu2 => all!(Activation::Relu2),
        }
    }
}

pub fn activate(activation: Activation, gate: &[f32], up: Option<&[f32]>, out: &mut [f32]) {
    par::pieces(out, CHUNK, gate.len() * 8, |i, out| {
        let range = i * CHUNK..i * CHUNK + out.len();
        activate_chunk(activation, &gate[range.clone()], up.map(|u| &u[range]), out);
    });
}

multiversion! {
    fn activate_backward_chunk(activation: Activation, gate: &[f32], up: &[f32], dout: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
        let gated = !up.is_empty();
        macro_rules! all {
            ($a:expr) => {
                if gated {
                    for i in 0..dgate.len().min(gate.len()).min(up.len()).min(dout.len()).min(dup.len()) {
                        dup[i] = dout[i] * act($a, gate[i]);
                        dgate[i] = dout[i] * up[i] * act_grad($a, gate[i]);
                    }
                } else {
                    for i in 0..dgate.len().min(gate.len()).min(dout.len()) {
                        dgate[i] = dout[i] * act_grad($a, gate[i]);
                    }
                }
            };
        }
        match activation {
            Activation::Gelu => all!(Activation::Gelu),
            Activation::GeluErf => all!(Activation::GeluErf),
            Activation::Silu => all!(Activation::Silu),
            Activation::Relu2 => all!(Activation::Relu2),
        }
    }
}

/// `up` and `dup` are empty without a gate.
pub fn activate_backward(
    activation: Activation,
    gate: &[f32],
    up: &[f32],
    dout: &[f32],
    dgate: &mut [f32],
    dup: &mut [f32],
) {
    let work = gate.len() * 16;
    if dup.is_empty() {
        par::pieces(dgate, CHUNK, work, |i, dgate| {
            let r = i * CHUNK..i * CHUNK + dgate.len();
            activate_backward_chunk(activation, &gate[r.clone()], &[], &dout[r], dgate, &mut []);
        });
    } else {
        par::pieces2(dgate, CHUNK, dup, CHUNK, work, |i, dgate, dup| {
            let r = i * CHUNK..i * CHUNK + dgate.len();
            activate_backward_chunk(
                activation,
                &gate[r.clone()],
                &up[r.clone()],
                &dout[r],
                dgate,
                dup,
            );
        });
    }
}

multiversion! {
    fn axpy_chunk(x: &[f32], scale: f32, out: &mut [f32]) {
        let scale = Wide::splat(scale);
        vectors::each(x, out, |x, out| out + scale * x);
    }
}

/// `out += scale·x`.
pub fn axpy(x: &[f32], scale: f32, out: &mut [f32]) {
    par::pieces(out, CHUNK, x.len(), |i, out| {
        axpy_chunk(&x[i * CHUNK..][..out.len()], scale, out);
    });
}

multiversion! {
    fn scale_chunk(x: &[f32], scale: f32, out: &mut [f32]) {
        let scale = Wide::splat(scale);
        vectors::each(x, out, |x, _| scale * x);
    }
}

/// `out = scale·x`.
pub fn scale(x: &[f32], scale: f32, out: &mut [f32]) {
    par::pieces(out, CHUNK, x.len(), |i, out| {
        scale_chunk(&x[i * CHUNK..][..out.len()], scale, out);
    });
}

multiversion! {
    fn scaled_sum_chunk(x: &[f32], y: &[f32], scale: f32, out: &mut [f32]) {
        let scale = Wide::splat(scale);
        vectors::each2(x, y, out, |x, y| x + scale * y);
    }
}

/// `out = x + scale·y`.
pub fn scaled_sum(x: &[f32], y: &[f32], scale: f32, out: &mut [f32]) {
    par::pieces(out, CHUNK, x.len(), |i, out| {
        let range = i * CHUNK..i * CHUNK + out.len();
        scaled_sum_chunk(&x[range.clone()], &y[range], scale, out);
    });
}
