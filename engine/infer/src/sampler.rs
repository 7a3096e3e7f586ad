//! Choosing a token from a step's candidates. The same seed gives the same choices on every
//! backend.

use super::Sampling;
use ternary_core::rng::Rng;

/// Draws tokens as a [`Sampling`] says.
///
/// ```
/// use ternary_infer::{Sampler, Sampling};
///
/// let mut sampler = Sampler::new(&Sampling { temperature: 0.0, ..Sampling::default() });
/// assert_eq!(sampler.choose(vec![(7, 1.5), (9, 3.0), (2, -1.0)]), Some(9));
/// ```
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    rng: Rng,
}

impl Sampler {
    /// A sampler at the start of its seed's stream.
    pub fn new(sampling: &Sampling) -> Self {
        Sampler {
            rng: Rng::new(sampling.seed),
            sampling: sampling.clone(),
        }
    }

    /// Choose among `(id, logit)` candidates, which come in any order, with the repetition penalty
    /// already applied.
    pub fn choose(&mut self, mut candidates: Vec<(u32, f32)>) -> Option<u32> {
        candidates.retain(|c| !c.1.is_nan());
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let best = candidates.first()?.1;
        if self.sampling.temperature == 0.0 {
            return candidates.first().map(|c| c.0);
        }
        if self.sampling.top_k > 0 {
            candidates.truncate(self.sampling.top_k);
        }
        let weights: Vec<f64> = candidates
            .iter()
            .map(|c| libm::exp(f64::from((c.1 - best) / self.sampling.temperature)))
            .collect();
        let total: f64 = weights.iter().sum();
        let mut kept = 0.0;
        let mut count = 0;
        for w in &weights {
            kept += w;
            count += 1;
            if kept >= f64::from(self.sampling.top_p) * total {
                break;
            }
        }
        let mut draw = self.rng.uniform() * kept;
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

    fn candidates() -> Vec<(u32, f32)> {
        vec![(4, 0.0), (1, 2.0), (9, 2.0), (3, 1.0)]
    }

    #[test]
    fn greedy_takes_the_largest_and_the_lower_id_of_a_tie() {
        let s = Sampling {
            temperature: 0.0,
            ..Sampling::default()
        };
        assert_eq!(Sampler::new(&s).choose(candidates()), Some(1));
        assert_eq!(Sampler::new(&s).choose(Vec::new()), None);
    }

    #[test]
    fn limits_cut_and_frequencies_follow_the_softmax() {
        let draw = |s: Sampling| {
            let mut sampler = Sampler::new(&s);
            let mut counts = [0usize; 10];
            for _ in 0..4000 {
                counts[sampler.choose(candidates()).unwrap() as usize] += 1;
            }
            counts
        };
        let off = Sampling {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            ..Sampling::default()
        };
        let all = draw(off.clone());
        let e = |x: f64| x.exp();
        let total = 2.0 * e(2.0) + e(1.0) + 1.0;
        for (id, p) in [(1, e(2.0) / total), (3, e(1.0) / total), (4, 1.0 / total)] {
            assert!((all[id] as f64 / 4000.0 - p).abs() < 0.03, "{all:?}");
        }
        let two = draw(Sampling {
            top_k: 2,
            ..off.clone()
        });
        assert_eq!((two[3], two[4]), (0, 0));
        let nucleus = draw(Sampling {
            top_p: 0.9,
            ..off.clone()
        });
        assert!(nucleus[4] == 0 && nucleus[3] > 0);
        assert_eq!(draw(off.clone()), all);
        assert_ne!(draw(Sampling { seed: 1, ..off }), all);
    }
}
