//! Direct preference optimization: one chosen sequence against a rejected one.

use ternary_common::platform::par;

/// Sequences of `seq` rows whose losses are compared, in pairs.
#[derive(Clone, Copy)]
pub struct Pairs<'a> {
    pub targets: &'a [u32],
    /// Of the policy, cross-entropy by row.
    pub losses: &'a [f32],
    /// Of the reference.
    pub reference: &'a [f32],
    pub seq: usize,
    pub beta: f32,
}

impl Pairs<'_> {
    /// The margin of a pair; none where nothing of it counts.
    fn margin(&self, pair: usize) -> Option<f64> {
        let own = pair * 2 * self.seq..(pair + 1) * 2 * self.seq;
        if self.targets[own.clone()].iter().all(|t| *t == u32::MAX) {
            return None;
        }
        let (losses, reference) = (&self.losses[own.clone()], &self.reference[own]);
        let ratio = |sequence: usize| -> f64 {
            let rows = sequence * self.seq..(sequence + 1) * self.seq;
            let all = reference[rows.clone()].iter().zip(&losses[rows]);
            all.map(|(r, l)| f64::from(*r) - f64::from(*l)).sum()
        };
        Some(f64::from(self.beta) * (ratio(0) - ratio(1)))
    }

    /// Loss, margin and whether the margin is above 0, of every pair. See
    /// [`ternary_model::program::Op::PreferenceLoss`].
    pub fn figures(&self, out: &mut [f32], margins: &mut [f32], wins: &mut [f32]) {
        let figures = out.iter_mut().zip(margins).zip(wins);
        for (pair, ((out, margin), win)) in figures.enumerate() {
            let found = self.margin(pair);
            let m = found.unwrap_or(0.0);
            *out = match found {
                Some(m) => ((-m).max(0.0) + libm::log1p(libm::exp(-m.abs()))) as f32,
                None => 0.0,
            };
            *margin = m as f32;
            *win = f32::from(m > 0.0);
        }
    }

    /// The gradient of the losses by logits `[rows, vocab]` becomes that of the pairs' losses.
    pub fn scale(&self, d_logits: &mut [f32], vocab: usize) {
        let sequence = self.seq * vocab;
        // β·σ(−margin), against the chosen sequence's loss and for the rejected one's. Where
        // nothing counts the gradient is 0 already.
        let slopes = (0..d_logits.len() / (2 * sequence)).flat_map(|pair| {
            let margin = self.margin(pair).unwrap_or(0.0);
            let slope = f64::from(self.beta) / (1.0 + libm::exp(margin));
            [slope as f32, -slope as f32]
        });
        let slopes: Vec<f32> = slopes.collect();
        let work = d_logits.len();
        par::pieces(d_logits, sequence, work, |i, rows| {
            rows.iter_mut().for_each(|d| *d *= slopes[i]);
        });
    }
}
