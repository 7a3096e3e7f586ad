//! Choosing a token from a step's candidates. The same seed gives the same choices on every
//! backend.

use super::Sampling;
use ternary_core::rng::Rng;
use ternary_core::sampling::Choice;

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
    pub fn choose(&mut self, candidates: Vec<(u32, f32)>) -> Option<u32> {
        self.next_choice().among(candidates)
    }

    /// How the next token is to be chosen, for whoever has its candidates.
    pub fn next_choice(&mut self) -> Choice {
        let Sampling {
            temperature,
            top_k,
            top_p,
            ..
        } = self.sampling;
        Choice {
            temperature,
            top_k,
            top_p,
            draw: match temperature {
                0.0 => 0.0,
                _ => self.rng.uniform(),
            },
        }
    }

    /// Factor of the logits of tokens that were there lately.
    pub fn penalty(&self) -> f32 {
        self.sampling.repetition_penalty
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
