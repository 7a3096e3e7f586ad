//! The next token from a row of logits, as a request asks for it.

use std::collections::HashMap;

use ternary_infer::{CANDIDATES, Sampler, TokenSet, log_partition};

use super::request::{Request, TokenLogprob};
use crate::generate::recent;

/// Chooses the tokens of one reply.
pub(super) struct Choice {
    sampler: Sampler,
    greedy: bool,
    repetition_penalty: f32,
    presence: f32,
    frequency: f32,
    bias: Vec<(u32, f32)>,
    /// How often the reply has a token.
    counts: HashMap<u32, u32>,
    logprobs: Option<usize>,
}

impl Choice {
    pub fn new(request: &Request) -> Self {
        Choice {
            sampler: Sampler::new(&request.sampling),
            greedy: request.sampling.temperature == 0.0,
            repetition_penalty: request.sampling.repetition_penalty,
            presence: request.presence_penalty,
            frequency: request.frequency_penalty,
            bias: request.logit_bias.clone(),
            counts: HashMap::new(),
            logprobs: request.logprobs,
        }
    }

    /// A token behind `ids`, from its logits, which are changed; None if there is none that may
    /// come.
    pub fn next(
        &mut self,
        logits: &mut [f32],
        ids: &[u32],
        allowed: Option<&TokenSet>,
    ) -> Option<(u32, Option<TokenLogprob>)> {
        let plain = self.logprobs.map(|top| LogProbs::new(logits, top));
        for (id, bias) in &self.bias {
            logits[*id as usize] += bias;
        }
        if self.presence != 0.0 || self.frequency != 0.0 {
            for (id, count) in &self.counts {
                logits[*id as usize] -= self.presence + self.frequency * *count as f32;
            }
        }
        if self.repetition_penalty != 1.0 {
            for id in recent(ids) {
                let logit = &mut logits[id as usize];
                *logit = match *logit > 0.0 {
                    true => *logit / self.repetition_penalty,
                    false => *logit * self.repetition_penalty,
                };
            }
        }
        if let Some(allowed) = allowed {
            for (id, logit) in logits.iter_mut().enumerate() {
                if !allowed.allows(id as u32) {
                    *logit = f32::NAN;
                }
            }
        }
        let candidates = largest(logits, if self.greedy { 1 } else { CANDIDATES });
        let id = self.sampler.choose(candidates)?;
        *self.counts.entry(id).or_default() += 1;
        Some((id, plain.map(|plain| plain.of(id))))
    }
}

/// Logits of which it is first looked whether any is large enough.
const BLOCK: usize = 64;

/// The `k` largest of `logits` that are numbers, in any order; of equal ones the first.
pub(super) fn largest(logits: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = Vec::with_capacity(2 * k);
    let mut least = f32::NEG_INFINITY;
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    for (i, block) in logits.chunks(BLOCK).enumerate() {
        // A loop without a way out, of which the compiler makes vectors.
        let any = block
            .iter()
            .fold(false, |any, logit| any | (*logit > least));
        if all.len() >= k && !any {
            continue;
        }
        for (id, logit) in (i * BLOCK..).zip(block) {
            // Of equal ones a later one is never needed once there are k before it.
            if *logit > least || (all.len() < k && !logit.is_nan()) {
                all.push((id as u32, *logit));
                if all.len() == 2 * k {
                    all.select_nth_unstable_by(k - 1, order);
                    all.truncate(k);
                    least = all[k - 1].1;
                }
            }
        }
    }
    all.sort_unstable_by(order);
    all.truncate(k);
    all
}

/// ln softmax of a row.
pub(super) struct LogProbs {
    logits: Vec<f32>,
    /// ln Σ e^logit.
    total: f64,
    top: usize,
}

impl LogProbs {
    /// `top`: how many of the likeliest are told.
    pub fn new(logits: &[f32], top: usize) -> Self {
        let (max, rest) = log_partition(logits);
        LogProbs {
            logits: logits.to_vec(),
            total: f64::from(max) + rest,
            top,
        }
    }

    pub fn of(&self, id: u32) -> TokenLogprob {
        let p = |logit: f32| (f64::from(logit) - self.total) as f32;
        let top = largest(&self.logits, self.top.max(1));
        TokenLogprob {
            id,
            logprob: p(self.logits[id as usize]),
            top: top
                .into_iter()
                .take(self.top)
                .map(|(id, v)| (id, p(v)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ternary_infer::Sampling;

    fn choice(change: impl FnOnce(&mut Request)) -> Choice {
        let mut request = Request {
            sampling: Sampling {
                temperature: 0.0,
                repetition_penalty: 1.0,
                ..Sampling::default()
            },
            ..Request::default()
        };
        change(&mut request);
        Choice::new(&request)
    }

    #[test]
    fn the_largest_are_found_wherever_they_are() {
        let logits: Vec<f32> = (0..1000u32).map(|i| (i * 7919 % 1009) as f32).collect();
        let mut sorted: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for k in [1, 3, 256] {
            assert_eq!(largest(&logits, k), sorted[..k]);
        }
        // Wherever blocks begin and end, with many alike and some that are no numbers.
        for len in [1, 63, 64, 65, 130, 257] {
            let logits: Vec<f32> = (0..len)
                .map(|i| match i * 31 % 17 {
                    3 => f32::NAN,
                    n => n as f32,
                })
                .collect();
            let numbers = (0..)
                .zip(logits.iter().copied())
                .filter(|(_, v)| !v.is_nan());
            let mut sorted: Vec<(u32, f32)> = numbers.collect();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            for k in [1, 5, 64] {
                assert_eq!(
                    largest(&logits, k),
                    sorted[..k.min(sorted.len())],
                    "{k} of {len}"
                );
            }
        }
        assert_eq!(largest(&[2.0, 2.0, f32::NAN, 2.0], 2), [(0, 2.0), (1, 2.0)]);
        assert_eq!(largest(&[f32::NAN], 2), []);
    }

    #[test]
    fn what_was_said_counts_less_and_what_is_forbidden_never_comes() {
        let logits = [1.0, 1.5, 1.2, -9.0];
        let mut c = choice(|r| r.presence_penalty = 0.4);
        let mut next = |allowed: Option<&TokenSet>| c.next(&mut logits.clone(), &[], allowed);
        assert_eq!(next(None).unwrap().0, 1);
        assert_eq!(next(None).unwrap().0, 2);
        let mut last = TokenSet::none(4);
        last.allow(3);
        assert_eq!(next(Some(&last)).unwrap().0, 3);
        assert!(next(Some(&TokenSet::none(4))).is_none());
        let mut biased = choice(|r| r.logit_bias = vec![(1, -100.0)]);
        assert_eq!(biased.next(&mut logits.clone(), &[], None).unwrap().0, 2);
        let mut often = choice(|r| r.frequency_penalty = 0.2);
        let said: Vec<u32> = (0..6)
            .map(|_| often.next(&mut logits.clone(), &[], None).unwrap().0)
            .collect();
        assert_eq!(said, [1, 1, 2, 1, 0, 2]);
    }

    #[test]
    fn logprobs_are_those_of_the_model() {
        let logits = [0.0f32, 1.0, 2.0];
        let mut c = choice(|r| {
            r.logprobs = Some(2);
            r.logit_bias = vec![(0, 100.0)];
        });
        let (id, told) = c.next(&mut logits.clone(), &[], None).unwrap();
        let told = told.unwrap();
        let total = (1.0 + 1f64.exp() + 2f64.exp()).ln();
        assert_eq!(id, 0, "the bias counts for the choice");
        assert!((f64::from(told.logprob) + total).abs() < 1e-6);
        assert_eq!(told.top.iter().map(|t| t.0).collect::<Vec<_>>(), [2, 1]);
    }
}
