//! A whole search: limits in perplexity and bytes, a strategy on a sample, the verdict on the whole
//! text.

use serde::{Deserialize, Serialize};

use super::space::{Point, Space, SpaceOptions};
use super::strategy::{Effort, Evaluate, Goal, Ledger, Strategy, Trial};
use crate::error::{Error, Result};
use ternary_core::config::LayerBitMap;

/// Maps beyond the limit on the sample that are measured on the whole text all the same.
const FULL: usize = 12;
/// Best maps within a size that are compared on the whole text.
const FINALISTS: usize = 4;
/// Nats by which a map may miss the limit on the sample and still be measured on the whole text.
const DOUBT: f64 = 0.02;

/// What a search is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// What may be chosen.
    #[serde(flatten)]
    pub space: SpaceOptions,
    /// Of the whole validation text, at most.
    pub max_perplexity: Option<f64>,
    /// Of the `.1bit` file, at most.
    pub max_bytes: Option<u64>,
    /// Maps to measure on the sample, at most.
    pub max_evals: usize,
    /// Tokens of the validation text that maps are compared on; 0 = all.
    pub sample_tokens: usize,
    /// Of the strategy's random choices.
    pub seed: u64,
}

impl Settings {
    /// # Errors
    /// No limit at all, or one that nothing can satisfy.
    pub fn validate(&self) -> Result<()> {
        if self.max_perplexity.is_none() && self.max_bytes.is_none() {
            return Err(Error::NoLimit);
        }
        if let Some(p) = self.max_perplexity.filter(|p| !(*p > 1.0 && p.is_finite())) {
            return Err(Error::PerplexityLimit(p));
        }
        if self.max_bytes == Some(0) {
            return Err(Error::SizeLimit);
        }
        if self.max_evals == 0 {
            return Err(Error::NoEvaluations);
        }
        Ok(())
    }

    fn goal(&self) -> Goal {
        Goal {
            max_loss: self.max_perplexity.map(f64::ln),
            max_bytes: self.max_bytes,
        }
    }
}

/// A measured map as the result file has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The map that was measured.
    pub layer_bit_map: LayerBitMap,
    /// On the sample.
    pub perplexity: f64,
    /// Of the `.1bit` file, at most.
    pub size_bytes: u64,
    /// On the whole validation text, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_perplexity: Option<f64>,
}

/// What a search found; the file's layout is in `docs/search.md`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchResult {
    /// Of the file's layout.
    pub version: u32,
    /// The map found; if none satisfies the limits, the one that comes nearest.
    pub layer_bit_map: LayerBitMap,
    /// Of the map, on the whole validation text.
    pub perplexity: f64,
    /// Of the `.1bit` file, at most.
    pub size_bytes: u64,
    /// Whether the map satisfies the limits.
    pub satisfied: bool,
    /// Measured maps that no other beats in both size and perplexity, smallest first.
    pub pareto_front: Vec<Entry>,
    /// Every map measured, in order.
    pub evaluations: Vec<Entry>,
    /// What was asked for.
    pub settings: Settings,
    /// The same as in the settings.
    pub seed: u64,
    /// Tokens of the sample and of the whole validation text.
    pub sample_tokens: usize,
    /// Tokens that are predicted in the whole validation text.
    pub validation_tokens: usize,
    /// What was searched: checkpoint, its hash, and the validation data.
    #[serde(default)]
    pub source: serde_json::Value,
}

/// How far a search is.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Maps measured so far.
    pub evaluations: usize,
    /// The budget.
    pub max_evals: usize,
    /// The best map that satisfies the limits so far, its loss on the sample and its bytes.
    pub best: Option<(LayerBitMap, f64, u64)>,
}

/// Tokens of the sample and of the whole text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Of the sample that maps are compared on.
    pub sample: usize,
    /// Of the whole validation text.
    pub all: usize,
}

/// Search `space`.
///
/// # Errors
/// Bad settings, and those of the evaluator.
pub async fn search(
    space: &Space,
    settings: &Settings,
    tokens: Tokens,
    evaluate: &mut dyn Evaluate,
    observe: &mut dyn FnMut(Standing),
) -> Result<SearchResult> {
    settings.validate()?;
    let mut full = Full {
        same: tokens.sample == tokens.all,
        known: Vec::new(),
    };
    let goal = settings.goal();
    // The sample may be easier or harder than the whole text; the limit is moved by as much.
    let mut shifted = goal;
    let mut known = None;
    if !full.same && goal.max_loss.is_some() {
        let finest = space.finest();
        let sampled = evaluate.losses(std::slice::from_ref(&finest)).await?;
        let whole = evaluate.full_loss(&finest).await?;
        let sampled = sampled.first().copied().unwrap_or(whole);
        let shift = sampled - whole;
        full.known.push((finest.clone(), whole));
        known = Some((finest, sampled));
        shifted.max_loss = goal.max_loss.map(|max| max + shift);
    }
    let effort = Effort {
        max_evals: settings.max_evals,
        seed: settings.seed,
    };
    let mut tell = |ledger: &Ledger| {
        observe(Standing {
            evaluations: ledger.all.len(),
            max_evals: settings.max_evals,
            best: ledger
                .best(&shifted)
                .map(|m| (space.map(&m.point), m.loss, m.bytes)),
        });
    };
    let mut strategy = Strategy::new(space, shifted, effort, evaluate, &mut tell);
    if let Some((point, loss)) = known {
        strategy = strategy.knowing(point, loss);
    }
    let ledger = strategy.run().await?;
    let found = full.decide(&ledger, &goal, &shifted, evaluate).await?;
    let (satisfied, chosen, loss) = match found {
        Some((m, loss)) => (true, m, loss),
        None => {
            let nearest = nearest(&ledger, &goal).ok_or(Error::NoFiniteLoss)?;
            let loss = full.loss(nearest, evaluate).await?;
            (goal.allows(loss, nearest.bytes), nearest.clone(), loss)
        }
    };
    let entry = |m: &Trial| Entry {
        layer_bit_map: space.map(&m.point),
        // JSON has no infinity.
        perplexity: libm::exp(m.loss).min(f64::MAX),
        size_bytes: m.bytes,
        full_perplexity: full.get(m).map(f64::exp),
    };
    Ok(SearchResult {
        version: 1,
        layer_bit_map: space.map(&chosen.point),
        perplexity: libm::exp(loss),
        size_bytes: chosen.bytes,
        satisfied,
        pareto_front: ledger.front().into_iter().map(entry).collect(),
        evaluations: ledger.all.iter().map(entry).collect(),
        settings: settings.clone(),
        seed: settings.seed,
        sample_tokens: tokens.sample,
        validation_tokens: tokens.all,
        source: serde_json::Value::Null,
    })
}

/// Losses on the whole text.
struct Full {
    /// The sample is the whole text.
    same: bool,
    known: Vec<(Point, f64)>,
}

impl Full {
    fn get(&self, m: &Trial) -> Option<f64> {
        if self.same {
            return Some(m.loss).filter(|l| l.is_finite());
        }
        let known = self.known.iter().find(|(p, _)| *p == m.point);
        known.map(|(_, loss)| *loss)
    }

    async fn loss(&mut self, m: &Trial, evaluate: &mut dyn Evaluate) -> Result<f64> {
        if let Some(loss) = self.get(m) {
            return Ok(loss);
        }
        let loss = evaluate.full_loss(&m.point).await?;
        self.known.push((m.point.clone(), loss));
        Ok(loss)
    }

    /// The best map by its loss on the whole text. `shifted` is the goal as the sample sees it.
    async fn decide(
        &mut self,
        ledger: &Ledger,
        goal: &Goal,
        shifted: &Goal,
        evaluate: &mut dyn Evaluate,
    ) -> Result<Option<(Trial, f64)>> {
        let doubtful = Goal {
            max_loss: shifted.max_loss.map(|max| max + DOUBT),
            ..*shifted
        };
        let mut open: Vec<&Trial> = ledger
            .all
            .iter()
            .filter(|m| doubtful.allows(m.loss, m.bytes))
            .collect();
        open.sort_by(|a, b| match goal.max_loss {
            Some(_) => a.bytes.cmp(&b.bytes).then(a.loss.total_cmp(&b.loss)),
            None => a.loss.total_cmp(&b.loss).then(a.bytes.cmp(&b.bytes)),
        });
        let limited = goal.max_loss.is_some();
        let shift = shifted.max_loss.unwrap_or(0.0) - goal.max_loss.unwrap_or(0.0);
        let (mut doubts, mut worst) = (FULL, 0.0f64);
        let mut best: Option<(Trial, f64)> = None;
        for (place, m) in open.into_iter().enumerate() {
            let expected = m.loss - shift;
            let known = self.get(m).is_some();
            if limited && !known {
                let sure = shifted.allows(m.loss, m.bytes);
                // One that misses on the sample may pass on the whole text, a few times; after one
                // that passed there has failed here, the next must have a margin as large.
                let likely = goal.max_loss.is_none_or(|max| expected + worst <= max);
                if (sure && !likely) || (!sure && doubts == 0) {
                    continue;
                }
                doubts -= usize::from(!sure);
            } else if !limited && place >= FINALISTS {
                break;
            }
            let loss = self.loss(m, evaluate).await?;
            worst = worst.max(loss - expected);
            let better = |(b, l): &(Trial, f64)| goal.prefers((loss, m.bytes), (*l, b.bytes));
            if goal.allows(loss, m.bytes) && best.as_ref().is_none_or(better) {
                best = Some((m.clone(), loss));
                if limited {
                    break;
                }
            }
        }
        Ok(best)
    }
}

/// What comes nearest to limits that nothing satisfies: the lowest loss within the size; if nothing
/// is that small, the smallest.
fn nearest<'a>(ledger: &'a Ledger, goal: &Goal) -> Option<&'a Trial> {
    let finite = || ledger.all.iter().filter(|m| m.loss.is_finite());
    let within = finite().filter(|m| goal.max_bytes.is_none_or(|max| m.bytes <= max));
    within
        .min_by(|a, b| a.loss.total_cmp(&b.loss))
        .or_else(|| finite().min_by_key(|m| m.bytes))
}
