//! Latents for weights that are already quantized, where training would have left them.
//!
//! Codes and scale say in which range a latent lies, not where in it. Latents of trained models
//! are spread over their ranges in much the same way, whatever the model, the step and the scales
//! (docs/results.md has the figures): evenly between the thresholds of code 0, and beyond a
//! threshold as [`BEYOND`]. Drawn so, some lie near a threshold, and fine-tuning turns codes from
//! its first steps on. The [settled](WeightQuant::latents) latents are as far from the thresholds
//! as can be.
//!
//! Per span of n weights with scale s:
//!
//! - ternary: codes 0 evenly within ±δ, the others at δ + t·b, b drawn, where the one t of the span
//!   gives it its scale. Absmean: δ = s/2, and Σ|w| = s·n. TWN: δ = 0.7·mean|W|, and the mean of
//!   the k others is s.
//! - binary: ±t·b about 0, and with a center the same sum of distances, s·n/2, on either side of
//!   it.
//! - 8-bit: evenly within the step of s around s·code; the largest weight, which the scale is of,
//!   stays.

use alloc::vec::Vec;

use super::latents::{UNSCALED, largest_of};
use super::{Quantized, WeightQuant};
use crate::config::QuantMode;
use crate::rng::Rng;

/// Sixteenths of the distances beyond a threshold, their mean being 1: measured on checkpoints of
/// ternary and of binary models. The last sixteenth falls off exponentially.
const BEYOND: [f32; 16] = [
    0.0, 0.073, 0.155, 0.242, 0.334, 0.432, 0.536, 0.648, 0.77, 0.904, 1.053, 1.222, 1.422, 1.672,
    2.012, 2.55,
];
/// Mean distance of the last sixteenth from its beginning.
const TAIL: f32 = 0.75;

/// How near to a threshold a latent comes, in ranges: rounding must not take it over.
const NEAREST: f32 = 1e-4;

/// A distance beyond a threshold.
fn beyond(rng: &mut Rng) -> f32 {
    let at = rng.uniform() * BEYOND.len() as f64;
    let (i, rest) = (at as usize, at - libm::floor(at));
    let drawn = match (BEYOND.get(i), BEYOND.get(i + 1)) {
        (Some(low), Some(high)) => low + (high - low) * rest as f32,
        _ => BEYOND[BEYOND.len() - 1] - TAIL * libm::log(1.0 - rest) as f32,
    };
    drawn.max(NEAREST)
}

/// A place in a range from 0 to 1.
fn evenly(rng: &mut Rng) -> f32 {
    rng.uniform() as f32 * (1.0 - 2.0 * NEAREST)
}

fn sign(rng: &mut Rng) -> f32 {
    if rng.next_u64() >> 63 == 0 { 1.0 } else { -1.0 }
}

/// Where the weights of one side lie: at from + t·b, `drawn` being the b, or at the limit.
struct Side {
    from: f32,
    limit: f32,
    t: f32,
}

impl Side {
    /// With the t that makes `total` of all of them; none if there is none.
    fn new(drawn: &[f32], from: f32, limit: f32, total: f64) -> Option<Self> {
        let (low, high) = (f64::from(from), f64::from(limit));
        let (mut t, mut inside) = (f64::INFINITY, usize::MAX);
        // Those at the limit leave more to the others, which takes more of them there.
        loop {
            let (mut count, mut sum) = (0, 0.0);
            for b in drawn.iter().map(|b| f64::from(*b)) {
                if t.is_infinite() || low + t * b < high {
                    (count, sum) = (count + 1, sum + b);
                }
            }
            if count >= inside {
                let t = t as f32;
                return Some(Side { from, limit, t });
            }
            let capped = (drawn.len() - count) as f64;
            let at_limit = if capped > 0.0 { capped * high } else { 0.0 };
            t = (total - count as f64 * low - at_limit) / sum;
            inside = count;
            if count == 0 || t <= 0.0 {
                return None;
            }
        }
    }

    fn place(&self, drawn: f32) -> f32 {
        (self.from + self.t * drawn).min(self.limit)
    }
}

impl WeightQuant {
    /// Latents `[rows, cols]` that [`quantize`](super::quantize) maps to `q`, as training leaves
    /// them: `rng` decides. None is beyond ±`clip` (0 = no limit) where that can be, and where they
    /// cannot be drawn they are [settled](Self::latents). `None` as there.
    pub fn drawn_latents(
        &self,
        q: &Quantized,
        rows: usize,
        cols: usize,
        clip: f32,
        rng: &mut Rng,
    ) -> Option<Vec<f32>> {
        let mut latents = self.latents(q, rows, cols, clip)?;
        let span = self.span_len(rows, cols).max(1);
        let limit = self.limit(clip);
        let spans = q.codes.chunks(span).zip(latents.chunks_mut(span));
        for (i, (codes, latents)) in spans.enumerate() {
            let scale = if self.scaled { q.scales[i] } else { UNSCALED };
            if let Some(drawn) = self.draw(codes, scale, limit, rng)
                && self.codes_of(&drawn, codes)
            {
                latents.copy_from_slice(&drawn);
            }
        }
        Some(latents)
    }

    fn codes_of(&self, latents: &[f32], codes: &[i8]) -> bool {
        let span = self.span(latents);
        let mut pairs = latents.iter().zip(codes);
        pairs.all(|(w, code)| self.code(&span, *w) == *code)
    }

    /// The latents of a span.
    fn draw(&self, codes: &[i8], scale: f32, limit: f32, rng: &mut Rng) -> Option<Vec<f32>> {
        match self.mode {
            QuantMode::F32 | QuantMode::F16 => None,
            QuantMode::EightBit => Some(eight_bit(codes, scale, rng)),
            QuantMode::Ternary => ternary(codes, scale, self.twn, limit, rng),
            QuantMode::Binary => binary(codes, scale, self.centered, limit, rng),
        }
    }
}

fn ternary(codes: &[i8], scale: f32, twn: bool, limit: f32, rng: &mut Rng) -> Option<Vec<f32>> {
    // Zeros as shares of the threshold.
    let mut latents: Vec<f32> = codes
        .iter()
        .map(|code| match code {
            0 => evenly(rng) * sign(rng),
            _ => beyond(rng),
        })
        .collect();
    let of = |zero: bool| {
        let all = codes.iter().zip(&latents);
        all.filter(move |(code, _)| (**code == 0) == zero)
            .map(|(_, w)| *w)
    };
    let zeros: f64 = of(true).map(|w| f64::from(w.abs())).sum();
    let others: Vec<f32> = of(false).collect();
    let (n, k, s) = (codes.len() as f64, others.len() as f64, f64::from(scale));
    let threshold = match twn {
        // δ = 0.7·(k·s + δ·zeros)/n.
        true => (0.7 * k * s / (n - 0.7 * zeros)) as f32,
        false => 0.5 * scale,
    };
    let total = match twn {
        true => k * s,
        false => n * s - f64::from(threshold) * zeros,
    };
    let side = Side::new(&others, threshold, limit, total)?;
    for (w, code) in latents.iter_mut().zip(codes) {
        *w = match code {
            0 => *w * threshold,
            code => side.place(*w) * f32::from(*code),
        };
    }
    Some(latents)
}

fn binary(codes: &[i8], scale: f32, centered: bool, limit: f32, rng: &mut Rng) -> Option<Vec<f32>> {
    let mut latents: Vec<f32> = codes.iter().map(|_| beyond(rng)).collect();
    let total = f64::from(scale) * codes.len() as f64;
    let of = |sign: i8| -> Vec<f32> {
        let all = codes.iter().zip(&latents);
        all.filter(|(code, _)| !centered || **code == sign)
            .map(|(_, w)| *w)
            .collect()
    };
    let share = if centered { total / 2.0 } else { total };
    let up = Side::new(&of(1), 0.0, limit, share)?;
    let down = Side::new(&of(-1), 0.0, limit, share)?;
    for (w, code) in latents.iter_mut().zip(codes) {
        *w = match code {
            1 => up.place(*w),
            _ => -down.place(*w),
        };
    }
    Some(latents)
}

fn eight_bit(codes: &[i8], scale: f32, rng: &mut Rng) -> Vec<f32> {
    let largest = largest_of(scale);
    let mut whole = true;
    let draw = |code: &i8| match code.unsigned_abs() {
        // The scale is of the first of them.
        127 if core::mem::take(&mut whole) => largest.copysign(f32::from(*code)),
        _ => {
            let w = f32::from(*code) + 0.5 * evenly(rng) * sign(rng);
            (scale * w).clamp(-largest, largest)
        }
    };
    codes.iter().map(draw).collect()
}

#[cfg(test)]
mod tests {
    use super::super::quantize;
    use super::*;
    use proptest::prelude::{
        ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, proptest,
    };

    const ROWS: usize = 6;
    const COLS: usize = 64;

    fn any_quant() -> impl Strategy<Value = WeightQuant> {
        let mode = prop::sample::select(vec![
            QuantMode::Ternary,
            QuantMode::Binary,
            QuantMode::EightBit,
        ]);
        let group = prop::sample::select(vec![0, COLS, 32]);
        let switches = (any::<bool>(), any::<bool>(), any::<bool>());
        (mode, group, switches).prop_map(|(mode, group, (scaled, twn, centered))| {
            let eight = mode == QuantMode::EightBit;
            WeightQuant {
                mode,
                group: if eight { COLS } else { group },
                scaled: scaled || eight,
                twn,
                centered,
                clamp: if eight { 0.0 } else { 1.5 },
            }
        })
    }

    fn weights(seed: u64, deviation: f32, shift: f32) -> Vec<f32> {
        let mut rng = Rng::new(seed);
        let outlier = |i: usize| if i.is_multiple_of(41) { 4.0 } else { 1.0 };
        (0..ROWS * COLS)
            .map(|i| (rng.normal() + shift) * deviation * outlier(i))
            .map(|w| w.clamp(-1.2, 1.2))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn drawn_latents_have_the_codes_and_scales(
            quant in any_quant(),
            seed in any::<u64>(),
            deviation in prop::sample::select(vec![1e-7f32, 0.003, 0.02, 0.1, 0.5, 3.0]),
            shift in -0.5f32..0.5,
        ) {
            let q = quantize(&weights(seed, deviation, shift), ROWS, COLS, &quant);
            let mut rng = Rng::new(seed);
            let latents = quant.drawn_latents(&q, ROWS, COLS, 1.2, &mut rng).unwrap();
            prop_assert!(latents.iter().all(|w| w.abs() <= 1.2001));
            let again = quantize(&latents, ROWS, COLS, &quant);
            prop_assert_eq!(&again.codes, &q.codes);
            for (a, b) in again.scales.iter().zip(&q.scales) {
                prop_assert!((a - b).abs() <= 1e-6 * b, "{a} {b}");
            }
            let mut rng = Rng::new(seed);
            let same = quant.drawn_latents(&q, ROWS, COLS, 1.2, &mut rng).unwrap();
            prop_assert_eq!(&same, &latents);
            let other = quant.drawn_latents(&q, ROWS, COLS, 1.2, &mut rng).unwrap();
            // Weights below the smallest scale, and those at the clip, leave nothing to draw.
            prop_assert!(!(1e-6..=1.0).contains(&deviation) || other != latents);
        }
    }

    /// Codes of normal weights give back about as many close to a threshold; of binary weights
    /// training leaves a third more there.
    #[test]
    fn some_are_close_to_a_threshold() {
        for (mode, twn) in [
            (QuantMode::Ternary, false),
            (QuantMode::Ternary, true),
            (QuantMode::Binary, false),
        ] {
            let quant = WeightQuant {
                mode,
                group: 0,
                scaled: true,
                twn,
                centered: true,
                clamp: 1.5,
            };
            let mut rng = Rng::new(3);
            let w: Vec<f32> = (0..200_000).map(|_| rng.normal() * 0.05).collect();
            let q = quantize(&w, 200, 1000, &quant);
            let near = |w: &[f32]| {
                let mean = w.iter().map(|w| w.abs()).sum::<f32>() / w.len() as f32;
                let threshold = match (mode, twn) {
                    (QuantMode::Binary, _) => 0.0,
                    (_, true) => 0.7 * mean,
                    _ => 0.5 * mean,
                };
                let close = |w: &&f32| (w.abs() - threshold).abs() < 0.05 * mean;
                w.iter().filter(close).count() as f64 / w.len() as f64
            };
            let drawn = quant.drawn_latents(&q, 200, 1000, 1.2, &mut rng).unwrap();
            let settled = quant.latents(&q, 200, 1000, 1.2).unwrap();
            let (trained, drawn) = (near(&w), near(&drawn));
            assert!(trained > 0.03 && near(&settled) == 0.0);
            assert!((0.9..1.4).contains(&(drawn / trained)), "{trained} {drawn}");
        }
    }
}
