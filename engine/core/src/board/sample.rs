//! Choosing a token from logits, with nothing beside them in memory.

use crate::math;
use crate::rng::Rng;

/// The largest logit's token, the first of equal ones.
pub fn greedy(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, v) in logits.iter().enumerate() {
        if *v > logits[best] {
            best = i;
        }
    }
    best as u32
}

/// Draws from softmax(logits / temperature) over the whole vocabulary.
#[derive(Clone, Debug)]
pub struct Sampler(Rng);

impl Sampler {
    /// The same `seed` gives the same choices as on any other machine.
    pub fn new(seed: u64) -> Self {
        Sampler(Rng::new(seed))
    }

    /// Greedy at temperature 0 and below. The logits become weights, to be drawn from without a
    /// second buffer.
    pub fn choose(&mut self, logits: &mut [f32], temperature: f32) -> u32 {
        let best = greedy(logits);
        if temperature.is_nan() || temperature <= 0.0 {
            return best;
        }
        let max = logits[best as usize];
        let mut total = 0.0f32;
        for v in logits.iter_mut() {
            *v = math::exp((*v - max) / temperature);
            total += *v;
        }
        // 24 bits: every value is exact in f32.
        let mut draw = (self.0.next_u64() >> 40) as f32 / 16_777_216.0 * total;
        for (i, v) in logits.iter().enumerate() {
            draw -= v;
            if draw < 0.0 {
                return i as u32;
            }
        }
        best
    }
}
