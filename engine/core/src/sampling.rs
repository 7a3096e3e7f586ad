//! Choosing a token among the likeliest ones: what samplers, the CPU and GPUs do alike.

use alloc::vec::Vec;
use core::cmp::Ordering;

/// How a token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// 0 = the likeliest.
    pub temperature: f32,
    /// Candidates that are looked at; 0 = all.
    pub top_k: usize,
    /// Smallest set of tokens with at least this probability; 1 = all.
    pub top_p: f32,
    /// Where in what is left the token lies, in 0..1.
    pub draw: f64,
}

impl Choice {
    /// One of `(id, logit)` candidates, which come in any order; the lower id of equal ones is the
    /// likelier. None where no logit is a number.
    pub fn among(&self, mut candidates: Vec<(u32, f32)>) -> Option<u32> {
        candidates.retain(|c| !c.1.is_nan());
        candidates.sort_by(|a, b| {
            let by_logit = b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal);
            by_logit.then(a.0.cmp(&b.0))
        });
        let best = candidates.first()?.1;
        if self.temperature == 0.0 {
            return candidates.first().map(|c| c.0);
        }
        if self.top_k > 0 {
            candidates.truncate(self.top_k);
        }
        let weights: Vec<f64> = candidates
            .iter()
            .map(|c| libm::exp(f64::from((c.1 - best) / self.temperature)))
            .collect();
        let total: f64 = weights.iter().sum();
        let mut kept = 0.0;
        let mut count = 0;
        for w in &weights {
            kept += w;
            count += 1;
            if kept >= f64::from(self.top_p) * total {
                break;
            }
        }
        let mut draw = self.draw * kept;
        for (c, w) in candidates.iter().zip(&weights).take(count) {
            draw -= w;
            if draw < 0.0 {
                return Some(c.0);
            }
        }
        candidates.get(count - 1).map(|c| c.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn zeros_of_either_sign_tie_and_what_is_no_number_is_left_out() {
        let greedy = Choice {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            draw: 0.0,
        };
        let candidates = vec![(9, 0.0), (3, -0.0), (1, f32::NAN), (2, -1.0)];
        assert_eq!(greedy.among(candidates), Some(3));
        assert_eq!(greedy.among(vec![(1, f32::NAN)]), None);
        let last = Choice {
            temperature: 1.0,
            draw: 1.0,
            ..greedy
        };
        // A draw rounded up to 1 takes the last one.
        assert_eq!(last.among(vec![(4, 0.0), (5, 0.0)]), Some(5));
    }
}
