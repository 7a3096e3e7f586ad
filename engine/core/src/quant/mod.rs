//! Quantizers, as pure functions. Training, export and search all call these, so a model is
//! exported exactly as it was trained.
//!
//! - ternary absmean (Ma et al. 2024, b1.58): γ = mean|W|, code = clip(round(W/γ), −1, 1), Ŵ =
//!   γ·code
//! - ternary TWN (Li et al. 2016): δ = 0.7·mean|W|, α = mean{|W| : |W| > δ}, Ŵ = α·sign(W)·[|W| >
//!   δ]
//! - binary: μ = mean W (if centered), Ŵ = mean|W − μ|·sign(W − μ)
//! - 8-bit: per row, Ŵ = round(127·W/max|W|)·max|W|/127
//!
//! A scale covers a *span*: the tensor, a row or a group of columns. Rounding is half to even.

#[cfg(feature = "std")]
mod drawn;
#[cfg(feature = "std")]
mod latents;
#[cfg(feature = "std")]
pub mod tile;

use alloc::vec::Vec;

use crate::config::{ModelConfig, QuantMode, WeightScale};
use crate::math;

/// Scales never fall below this, so all-zero weights divide safely (as in Hugging Face's BitNet
/// code).
const MIN_SCALE: f32 = 1e-5;

/// How one matrix is quantized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightQuant {
    /// What the weights are quantized to.
    pub mode: QuantMode,
    /// Columns per scale; 0 = one scale for the tensor.
    pub group: usize,
    /// False: codes stay unscaled (`weight_scale: none`).
    pub scaled: bool,
    /// TWN threshold 0.7·mean|W| instead of absmean rounding.
    pub twn: bool,
    /// Binary: signs about the mean.
    pub centered: bool,
    /// Latents (ternary, binary) are clamped to ± this first; 0 = off.
    pub clamp: f32,
}

/// What quantizing one span needs to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Factor of the codes.
    pub scale: f32,
    /// TWN's δ; unused otherwise.
    threshold: f32,
    /// Subtracted before taking signs.
    center: f32,
    /// Size of the soft quantizer's output, the scale even when codes are unscaled.
    soft: f32,
}

impl WeightQuant {
    /// The settings a model's config gives to a matrix of `cols` columns in `mode`.
    pub fn new(config: &ModelConfig, mode: QuantMode, cols: usize) -> Self {
        let group = match (mode, config.weight_scale) {
            (QuantMode::EightBit, _) | (_, WeightScale::Row) => cols,
            (_, WeightScale::Tensor | WeightScale::None) => 0,
            (_, WeightScale::Group) => config.weight_group_size,
        };
        WeightQuant {
            mode,
            group,
            scaled: mode == QuantMode::EightBit || config.weight_scale != WeightScale::None,
            twn: config.use_dynamic_threshold,
            centered: config.binary_centered,
            clamp: if mode.is_latent() {
                config.latent_clamp_max
            } else {
                0.0
            },
        }
    }

    /// Elements per span in a `[rows, cols]` tensor.
    pub fn span_len(&self, rows: usize, cols: usize) -> usize {
        if self.group == 0 {
            rows * cols
        } else {
            self.group
        }
    }

    /// A latent as the quantizer sees it.
    #[inline(always)]
    pub fn clamped(&self, w: f32) -> f32 {
        if self.clamp > 0.0 {
            w.clamp(-self.clamp, self.clamp)
        } else {
            w
        }
    }

    /// mean|w − center|.
    #[inline(always)]
    fn mean_distance(&self, weights: &[f32], center: f64) -> f64 {
        let sum = interleaved_sum(weights, |w| (f64::from(self.clamped(w)) - center).abs());
        sum / weights.len().max(1) as f64
    }

    /// Statistics of a span, summed in f64 in a fixed order so that they do not depend on threads.
    #[inline(always)]
    pub fn span(&self, weights: &[f32]) -> Span {
        let n = weights.len().max(1) as f64;
        let (scale, threshold, center) = match self.mode {
            QuantMode::F32 | QuantMode::F16 => (1.0, 0.0, 0.0),
            QuantMode::EightBit => (
                f64::from(math::max_by(weights, |w| self.clamped(w).abs()).max(0.0)) / 127.0,
                0.0,
                0.0,
            ),
            QuantMode::Ternary if self.twn => {
                let threshold = 0.7 * self.mean_distance(weights, 0.0);
                let size = |w: f32| f64::from(self.clamped(w).abs());
                let kept = |w| if size(w) > threshold { size(w) } else { 0.0 };
                let one = |w| if size(w) > threshold { 1.0 } else { 0.0 };
                let count = interleaved_sum(weights, one);
                (
                    interleaved_sum(weights, kept) / count.max(1.0),
                    threshold,
                    0.0,
                )
            }
            QuantMode::Ternary => (self.mean_distance(weights, 0.0), 0.0, 0.0),
            QuantMode::Binary => {
                let center = if self.centered {
                    interleaved_sum(weights, |w| f64::from(self.clamped(w))) / n
                } else {
                    0.0
                };
                (self.mean_distance(weights, center), 0.0, center)
            }
        };
        let scale = if self.mode == QuantMode::EightBit {
            (scale as f32).max(1e-10)
        } else {
            (scale as f32).max(MIN_SCALE)
        };
        Span {
            scale: if self.scaled { scale } else { 1.0 },
            threshold: threshold as f32,
            center: center as f32,
            soft: scale,
        }
    }

    /// Integer code of one weight, as a float.
    #[inline(always)]
    fn level(&self, span: &Span, weight: f32) -> f32 {
        let w = self.clamped(weight);
        match self.mode {
            QuantMode::F32 | QuantMode::F16 => 0.0,
            QuantMode::EightBit => math::round((w / span.scale).clamp(-127.0, 127.0)),
            QuantMode::Ternary if self.twn => {
                if w.abs() > span.threshold {
                    1f32.copysign(w)
                } else {
                    0.0
                }
            }
            QuantMode::Ternary => math::round((w / span.soft).clamp(-1.0, 1.0)),
            QuantMode::Binary => {
                if w >= span.center {
                    1.0
                } else {
                    -1.0
                }
            }
        }
    }

    /// Integer code of one weight.
    #[inline]
    pub fn code(&self, span: &Span, weight: f32) -> i8 {
        self.level(span, weight) as i8
    }

    /// The value the forward pass multiplies by: the de-quantized code, or the soft form while
    /// annealing (`alpha` > 0).
    #[inline(always)]
    pub fn forward(&self, span: &Span, weight: f32, alpha: f32) -> f32 {
        match self.mode {
            QuantMode::F32 | QuantMode::F16 => weight,
            QuantMode::Ternary | QuantMode::Binary if alpha > 0.0 => {
                let x = (self.clamped(weight) - span.center) / span.soft;
                span.soft * math::tanh(alpha * x)
            }
            _ => span.scale * self.level(span, weight),
        }
    }
}

/// Σ f(w) in sixteen interleaved sums.
#[inline(always)]
fn interleaved_sum(weights: &[f32], f: impl Fn(f32) -> f64) -> f64 {
    let mut sums = [0f64; 16];
    let (whole, rest) = weights.as_chunks::<16>();
    for part in whole {
        for (sum, w) in sums.iter_mut().zip(part) {
            *sum += f(*w);
        }
    }
    for (sum, w) in sums.iter_mut().zip(rest) {
        *sum += f(*w);
    }
    sums.iter().sum()
}

/// A matrix as codes and scales.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// `[rows, cols]`.
    pub codes: Vec<i8>,
    /// `[rows, cols / group]`, or one for the tensor when the quantizer's group is 0.
    pub scales: Vec<f32>,
}

/// Quantize `[rows, cols]` latents (every mode but the floats).
pub fn quantize(latent: &[f32], rows: usize, cols: usize, quant: &WeightQuant) -> Quantized {
    let mut codes = Vec::with_capacity(latent.len());
    let mut scales = Vec::new();
    for part in latent.chunks(quant.span_len(rows, cols).max(1)) {
        let span = quant.span(part);
        scales.push(span.scale);
        codes.extend(part.iter().map(|w| quant.code(&span, *w)));
    }
    Quantized { codes, scales }
}

/// The hard-quantized values of `[rows, cols]` latents, as the forward pass multiplies them; float
/// latents as they are.
pub fn dequantized(latent: &[f32], rows: usize, cols: usize, quant: &WeightQuant) -> Vec<f32> {
    let mut values = Vec::with_capacity(latent.len());
    for part in latent.chunks(quant.span_len(rows, cols).max(1)) {
        let span = quant.span(part);
        values.extend(part.iter().map(|w| quant.forward(&span, *w, 0.0)));
    }
    values
}

/// α of the soft quantizer at `step`: 1 → 8 linearly over the first `fraction` of the steps, then 0
/// (hard).
pub fn anneal_alpha(step: usize, max_steps: usize, fraction: f32) -> f32 {
    let span = libm::floorf(max_steps as f32 * fraction);
    if (step as f32) < span {
        1.0 + 7.0 * step as f32 / span
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quant(mode: QuantMode, twn: bool, group: usize) -> WeightQuant {
        WeightQuant {
            mode,
            group,
            scaled: true,
            twn,
            centered: true,
            clamp: 1.5,
        }
    }

    #[test]
    fn absmean_matches_its_formula() {
        let w = [0.9f32, -0.1, 0.4, -0.6];
        let q = quantize(&w, 1, 4, &quant(QuantMode::Ternary, false, 0));
        assert!((q.scales[0] - 0.5).abs() < 1e-6);
        assert_eq!(q.codes, [1, 0, 1, -1]);
    }

    #[test]
    fn twn_scale_is_the_mean_of_the_kept_weights() {
        let w = [0.9f32, -0.1, 0.4, -0.6];
        let q = quantize(&w, 1, 4, &quant(QuantMode::Ternary, true, 0));
        assert!((q.scales[0] - (0.9 + 0.4 + 0.6) / 3.0).abs() < 1e-6);
        assert_eq!(q.codes, [1, 0, 1, -1]);
    }

    #[test]
    fn binary_is_centered() {
        let q = quantize(&[1.0, 2.0, 3.0, 6.0], 1, 4, &{
            let mut q = quant(QuantMode::Binary, false, 0);
            q.clamp = 0.0;
            q
        });
        assert_eq!(q.codes, [-1, -1, 1, 1]);
        assert!((q.scales[0] - 1.5).abs() < 1e-6);
    }

    #[test]
    fn zeros_and_saturation_are_finite() {
        for mode in [QuantMode::EightBit, QuantMode::Ternary, QuantMode::Binary] {
            for value in [0.0f32, 1e30, -1e30] {
                let q = quantize(&[value; 8], 2, 4, &quant(mode, true, 4));
                assert!(q.scales.iter().all(|s| s.is_finite() && *s > 0.0));
            }
        }
    }

    #[test]
    fn soft_quantizer_approaches_the_hard_scale() {
        let w: Vec<f32> = (0..64).map(|i| (i as f32 - 31.5) / 20.0).collect();
        let q = quant(QuantMode::Ternary, false, 0);
        let span = q.span(&w);
        assert!((q.forward(&span, 1.5, 8.0) - span.scale).abs() < 1e-3);
        assert_eq!(anneal_alpha(0, 100, 0.3), 1.0);
        assert_eq!(anneal_alpha(30, 100, 0.3), 0.0);
        assert!(anneal_alpha(29, 100, 0.3) > 7.5);
    }

    #[test]
    fn per_row_and_per_group_scales_are_counted() {
        let w = vec![0.5f32; 4 * 64];
        assert_eq!(
            quantize(&w, 4, 64, &quant(QuantMode::Ternary, false, 64))
                .scales
                .len(),
            4
        );
        assert_eq!(
            quantize(&w, 4, 64, &quant(QuantMode::Ternary, false, 32))
                .scales
                .len(),
            8
        );
        assert_eq!(
            quantize(&w, 4, 64, &quant(QuantMode::EightBit, false, 64))
                .scales
                .len(),
            4
        );
    }
}
