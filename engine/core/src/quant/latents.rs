//! Latents for weights that are already quantized, as far from the thresholds as can be: what
//! merging adds to, and a checksum reads. Fine-tuning starts from [drawn](super::drawn) ones.
//!
//! A quantizer forgets its latents; any that it maps to the same codes and scales will do. Per span
//! of n weights with scale s:
//!
//! - ternary absmean wants mean|W| = s although zeros pull the mean down: zeros get 0 and the k
//!   others ±s·n/k. Where that is beyond the latents' clip, zeros share the burden with alternating
//!   ±b, b < s/2.
//! - ternary TWN: 0 and ±s; δ = 0.7·s·k/n lies below s.
//! - binary about its mean: +s·n/2p on the p positive side and −s·n/2m on the negative, which have
//!   mean 0 and mean distance s; moved as a whole where one side is beyond the clip. Not centered:
//!   ±s.
//! - 8-bit: s·code, the largest such that it divides back to s.
//!
//! Sums that decide a scale are met by spreading one unit in the last place over as many weights as
//! needed, so scales come out as they were.

use alloc::vec::Vec;

use super::{Quantized, WeightQuant, quantize};
use crate::config::QuantMode;

/// Size of latents whose quantizer keeps no scale: the usual initial deviation.
pub(super) const UNSCALED: f32 = 0.02;

/// Largest share of the scale that a latent of code 0 may have; 0.5 rounds to 0, with room for
/// rounding.
const ZERO_SHARE: f64 = 0.499;

impl WeightQuant {
    /// How large a latent may be.
    pub(super) fn limit(&self, clip: f32) -> f32 {
        let limits = [self.clamp, clip].into_iter().filter(|l| *l > 0.0);
        limits.fold(f32::INFINITY, f32::min)
    }

    /// Latents `[rows, cols]` that [`quantize`] maps to `q`, none beyond ±`clip` (0 = no limit)
    /// where that can be. `None` if this quantizer can never give these codes (an 8-bit row that no
    /// weight fills, a centered binary span that is all −1).
    pub fn latents(&self, q: &Quantized, rows: usize, cols: usize, clip: f32) -> Option<Vec<f32>> {
        let span = self.span_len(rows, cols).max(1);
        let limit = self.limit(clip);
        let mut latents = Vec::with_capacity(q.codes.len());
        for (i, codes) in q.codes.chunks(span).enumerate() {
            let scale = if self.scaled { q.scales[i] } else { UNSCALED };
            match self.mode {
                QuantMode::F32 | QuantMode::F16 => return None,
                QuantMode::EightBit => eight_bit(codes, scale, &mut latents),
                QuantMode::Ternary if self.twn => {
                    latents.extend(codes.iter().map(|c| scale * f32::from(*c)));
                }
                QuantMode::Ternary => absmean(codes, scale, limit, &mut latents),
                QuantMode::Binary if self.centered => centered(codes, scale, limit, &mut latents),
                QuantMode::Binary => latents.extend(codes.iter().map(|c| scale * f32::from(*c))),
            }
        }
        (quantize(&latents, rows, cols, self).codes == q.codes).then_some(latents)
    }
}

/// `count` values of about the same size whose f64 sum is `total` as nearly as can be: the first
/// `few` are one unit in the last place larger than the others.
struct Spread {
    low: f32,
    high: f32,
    few: usize,
}

impl Spread {
    fn new(total: f64, count: usize) -> Self {
        let n = count.max(1) as f64;
        let mut low = (total / n) as f32;
        if f64::from(low) * n > total {
            low = low.next_down();
        }
        let high = low.next_up();
        let unit = f64::from(high) - f64::from(low);
        let few = ((total - f64::from(low) * n) / unit).round() as usize;
        Spread { low, high, few }
    }

    fn next(&mut self) -> f32 {
        if self.few == 0 {
            return self.low;
        }
        self.few -= 1;
        self.high
    }
}

fn absmean(codes: &[i8], scale: f32, limit: f32, latents: &mut Vec<f32>) {
    let n = codes.len();
    let k = codes.iter().filter(|c| **c != 0).count();
    if k == 0 {
        // Every mean below the smallest scale gives the smallest scale.
        latents.resize(latents.len() + n, 0.0);
        return;
    }
    let total = f64::from(scale) * n as f64;
    let zeros = (n - k) as f64;
    let missing = total - k as f64 * f64::from(limit);
    let share = if missing > 0.0 && zeros > 0.0 {
        (missing / zeros).min(ZERO_SHARE * f64::from(scale))
    } else {
        0.0
    };
    let small = share as f32;
    let mut large = Spread::new(total - zeros * f64::from(small), k);
    let mut sign = 1.0;
    latents.extend(codes.iter().map(|c| {
        if *c == 0 {
            sign = -sign;
            small * sign
        } else {
            large.next() * f32::from(*c)
        }
    }));
}

fn centered(codes: &[i8], scale: f32, limit: f32, latents: &mut Vec<f32>) {
    let n = codes.len() as f64;
    let plus = codes.iter().filter(|c| **c > 0).count();
    let minus = codes.len() - plus;
    if plus == 0 || minus == 0 {
        latents.resize(latents.len() + codes.len(), 0.0);
        return;
    }
    let half = f64::from(scale) * n / 2.0;
    let (up, down, limit) = (half / plus as f64, half / minus as f64, f64::from(limit));
    // The mean that keeps both sides inside the limit, 0 if it does.
    let mean = if up > limit {
        (limit - up).max(down - limit)
    } else if down > limit {
        (down - limit).min(limit - up)
    } else {
        0.0
    };
    let mut above = Spread::new(half + mean * plus as f64, plus);
    let mut below = Spread::new(-half + mean * minus as f64, minus);
    latents.extend(
        codes
            .iter()
            .map(|c| if *c > 0 { above.next() } else { below.next() }),
    );
}

/// The weight that an 8-bit scale is of.
pub(super) fn largest_of(scale: f32) -> f32 {
    let product = 127.0 * scale;
    [product, product.next_up(), product.next_down()]
        .into_iter()
        .find(|w| (f64::from(*w) / 127.0) as f32 == scale)
        .unwrap_or(product)
}

fn eight_bit(codes: &[i8], scale: f32, latents: &mut Vec<f32>) {
    let largest = largest_of(scale);
    latents.extend(codes.iter().map(|c| match *c {
        127 => largest,
        -127 => -largest,
        c => scale * f32::from(c),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn quants(cols: usize) -> Vec<WeightQuant> {
        let mut all = Vec::new();
        for group in [0, cols, 32] {
            for (mode, twn, centered) in [
                (QuantMode::Ternary, false, false),
                (QuantMode::Ternary, true, false),
                (QuantMode::Binary, false, true),
                (QuantMode::Binary, false, false),
                (QuantMode::EightBit, false, false),
            ] {
                for scaled in [true, false] {
                    if mode == QuantMode::EightBit && (group != cols || !scaled) {
                        continue;
                    }
                    let clamp = if mode == QuantMode::EightBit {
                        0.0
                    } else {
                        1.5
                    };
                    all.push(WeightQuant {
                        mode,
                        group,
                        scaled,
                        twn,
                        centered,
                        clamp,
                    });
                }
            }
        }
        all
    }

    #[test]
    fn codes_come_back_exactly_and_scales_with_them() {
        let (rows, cols) = (5, 96);
        let (mut scales, mut exact) = (0, 0);
        for quant in quants(cols) {
            for (seed, std) in [(1, 0.02f32), (2, 0.5), (3, 1.0), (4, 3.0), (5, 1e-7)] {
                let mut rng = Rng::new(seed);
                // Skewed, and with a few outliers, as trained weights are.
                let w: Vec<f32> = (0..rows * cols)
                    .map(|i| (rng.normal() + 0.3) * std * if i % 41 == 0 { 4.0 } else { 1.0 })
                    .map(|w| w.clamp(-1.2, 1.2))
                    .collect();
                let q = quantize(&w, rows, cols, &quant);
                let latents = quant.latents(&q, rows, cols, 1.2).unwrap();
                assert!(latents.iter().all(|w| w.abs() <= 1.2001), "{quant:?} {std}");
                let again = quantize(&latents, rows, cols, &quant);
                assert_eq!(again.codes, q.codes, "{quant:?} {std}");
                for (a, b) in again.scales.iter().zip(&q.scales) {
                    scales += 1;
                    exact += usize::from(a == b);
                    assert!(
                        (a - b).abs() <= b * f32::EPSILON,
                        "{quant:?} {std}: {a} {b}"
                    );
                }
            }
        }
        // Bounds above are those of one rounding; nearly every scale is the same number.
        assert!(exact * 1000 >= scales * 999, "{exact} of {scales}");
    }

    #[test]
    fn degenerate_spans_come_back() {
        for quant in quants(32) {
            for w in [vec![0.0f32; 64], vec![1e-9; 64], vec![-0.7; 64], {
                let mut one = vec![0.0f32; 64];
                one[7] = 0.9;
                one
            }] {
                let q = quantize(&w, 2, 32, &quant);
                let Some(latents) = quant.latents(&q, 2, 32, 1.2) else {
                    // Rounding can put a mean above every weight it is the mean of.
                    assert!(quant.centered && q.codes[0] == -1, "{quant:?} {w:?}");
                    continue;
                };
                let again = quantize(&latents, 2, 32, &quant);
                assert_eq!(again.codes, q.codes, "{quant:?}");
                for (a, b) in again.scales.iter().zip(&q.scales) {
                    assert!(
                        (a - b).abs() <= b * f32::EPSILON,
                        "{quant:?} {w:?}: {a} {b}"
                    );
                }
            }
        }
    }

    #[test]
    fn codes_that_a_quantizer_never_gives_are_refused() {
        let eight = quants(4)
            .into_iter()
            .find(|q| q.mode == QuantMode::EightBit);
        let q = Quantized {
            codes: vec![3, -5, 0, 9],
            scales: vec![0.1],
        };
        assert!(eight.unwrap().latents(&q, 1, 4, 0.0).is_none());
    }
}
