//! Which maps are measured, and which one is chosen.
//!
//! A space no larger than the budget is measured whole. Otherwise:
//! 1. the finest map and, for every unit, every other mode alone (sensitivities);
//! 2. a knapsack over these effects: the maps that are best at every trade of bytes against loss,
//!    the whole front at once;
//! 3. a [`Surrogate`] learns from everything measured. Again and again it is asked for the map most
//!    worth measuring: among all maps where they can be listed, otherwise among the knapsack's with
//!    the effects as they now look, and the neighbors (one to three level switches) of the best
//!    maps found;
//! 4. only measured losses decide.

use std::collections::{HashMap, HashSet};

use super::space::{Point, Space};
use super::surrogate::Surrogate;
use crate::error::{Error, Result};
use ternary_common::bytes::LocalFuture;
use ternary_core::rng::Rng;

/// Largest space whose maps are all considered at every turn.
const LISTED: u64 = 1 << 16;
/// Maps measured together: independent of the number of threads, so that the result is, too.
const TOGETHER: usize = 2;
/// Neighbors considered at a turn where the space cannot be listed.
const NEIGHBOURS: usize = 400;
/// The share of the budget that sensitivities may take.
const SENSITIVITY_SHARE: f64 = 0.6;
/// Turns between choices of the surrogate's weights.
const REFIT: usize = 8;
/// A limit whose chance of being met by any smaller map is below this is not worth another
/// measurement.
const HOPELESS: f64 = 1e-6;

/// Measures maps.
pub trait Evaluate {
    /// Mean loss of every point on the sample, nats per token, in order.
    fn losses<'a>(&'a mut self, points: &'a [Point]) -> LocalFuture<'a, Result<Vec<f64>>>;

    /// Loss of a map on the whole validation text.
    fn full_loss<'a>(&'a mut self, point: &'a Point) -> LocalFuture<'a, Result<f64>>;
}

impl<E: Evaluate + ?Sized> Evaluate for &mut E {
    fn losses<'a>(&'a mut self, points: &'a [Point]) -> LocalFuture<'a, Result<Vec<f64>>> {
        (**self).losses(points)
    }

    fn full_loss<'a>(&'a mut self, point: &'a Point) -> LocalFuture<'a, Result<f64>> {
        (**self).full_loss(point)
    }
}

impl<E: Evaluate + ?Sized> Evaluate for Box<E> {
    fn losses<'a>(&'a mut self, points: &'a [Point]) -> LocalFuture<'a, Result<Vec<f64>>> {
        (**self).losses(points)
    }

    fn full_loss<'a>(&'a mut self, point: &'a Point) -> LocalFuture<'a, Result<f64>> {
        (**self).full_loss(point)
    }
}

/// What the map must satisfy; at least one of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Goal {
    /// Nats per token: the smallest map at or below it is sought.
    pub max_loss: Option<f64>,
    /// Without a loss limit, the best map within it is sought.
    pub max_bytes: Option<u64>,
}

impl Goal {
    /// Whether a map of this loss and size satisfies the goal.
    pub fn allows(&self, loss: f64, bytes: u64) -> bool {
        self.max_loss.is_none_or(|max| loss <= max) && self.max_bytes.is_none_or(|max| bytes <= max)
    }

    /// Whether the first of two maps that satisfy the goal is the better one.
    pub fn prefers(&self, (loss, bytes): (f64, u64), (than_loss, than_bytes): (f64, u64)) -> bool {
        if self.max_loss.is_some() {
            (bytes, loss) < (than_bytes, than_loss)
        } else {
            (loss, bytes) < (than_loss, than_bytes)
        }
    }
}

/// A bit-map and what was measured of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The map, as a point of the space.
    pub point: Point,
    /// Nats per token on the sample.
    pub loss: f64,
    /// Of the `.1bit` file, at most.
    pub bytes: u64,
}

/// Everything measured so far, in order.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// In the order in which they were measured.
    pub all: Vec<Trial>,
    index: HashMap<Point, usize>,
}

impl Ledger {
    /// Whether the map was measured.
    pub fn contains(&self, point: &[u8]) -> bool {
        self.index.contains_key(point)
    }

    /// What was measured of the map.
    pub fn get(&self, point: &[u8]) -> Option<&Trial> {
        self.index.get(point).map(|i| &self.all[*i])
    }

    fn push(&mut self, trial: Trial) {
        self.index.insert(trial.point.clone(), self.all.len());
        self.all.push(trial);
    }

    /// The best measured map that satisfies `goal`.
    pub fn best(&self, goal: &Goal) -> Option<&Trial> {
        let allowed = self.all.iter().filter(|m| goal.allows(m.loss, m.bytes));
        allowed.reduce(|best, m| {
            if goal.prefers((m.loss, m.bytes), (best.loss, best.bytes)) {
                m
            } else {
                best
            }
        })
    }

    /// The maps that no other beats in both bytes and loss, smallest first.
    pub fn front(&self) -> Vec<&Trial> {
        let mut sorted: Vec<&Trial> = self.all.iter().filter(|m| m.loss.is_finite()).collect();
        sorted.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.loss.total_cmp(&b.loss)));
        let mut lowest = f64::INFINITY;
        sorted.retain(|m| {
            let better = m.loss < lowest;
            lowest = lowest.min(m.loss);
            better
        });
        sorted
    }
}

/// How long to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Maps to measure, at most.
    pub max_evals: usize,
    /// Of the random choices between candidates.
    pub seed: u64,
}

/// A search in progress.
pub struct Strategy<'a> {
    space: &'a Space,
    goal: Goal,
    effort: Effort,
    evaluate: &'a mut dyn Evaluate,
    /// Told after every measurement.
    observe: &'a mut dyn FnMut(&Ledger),
    ledger: Ledger,
    rng: Rng,
}

impl<'a> Strategy<'a> {
    /// A search that has measured nothing yet; `observe` is told after each batch of measurements.
    pub fn new(
        space: &'a Space,
        goal: Goal,
        effort: Effort,
        evaluate: &'a mut dyn Evaluate,
        observe: &'a mut dyn FnMut(&Ledger),
    ) -> Self {
        Strategy {
            space,
            goal,
            effort,
            evaluate,
            observe,
            ledger: Ledger::default(),
            rng: Rng::named(effort.seed, "search"),
        }
    }

    /// Begin with a map whose loss is known.
    pub fn knowing(mut self, point: Point, loss: f64) -> Self {
        self.note(point, loss);
        self
    }

    fn note(&mut self, point: Point, loss: f64) {
        self.ledger.push(Trial {
            bytes: self.space.bytes(&point),
            // A map that breaks the model is as bad as can be, and no number to compare with.
            loss: if loss.is_nan() { f64::INFINITY } else { loss },
            point,
        });
    }

    fn left(&self) -> usize {
        self.effort.max_evals.saturating_sub(self.ledger.all.len())
    }

    /// Measure what is not measured yet, as far as the budget goes.
    async fn measure(&mut self, points: &[Point]) -> Result<()> {
        let mut seen = HashSet::new();
        let new: Vec<Point> = points
            .iter()
            .filter(|p| !self.ledger.contains(p) && seen.insert((*p).clone()))
            .take(self.left())
            .cloned()
            .collect();
        let losses = self.evaluate.losses(&new).await?;
        if losses.len() != new.len() {
            return Err(Error::LossCount {
                asked: new.len(),
                given: losses.len(),
            });
        }
        for (point, loss) in new.into_iter().zip(losses) {
            self.note(point, loss);
        }
        (self.observe)(&self.ledger);
        Ok(())
    }

    /// Measure until the budget is spent or nothing is worth it.
    ///
    /// # Errors
    /// Those of the evaluator.
    pub async fn run(mut self) -> Result<Ledger> {
        let small = self.space.count() <= self.effort.max_evals as u64;
        if small {
            self.exhaustive().await?;
        } else {
            self.guided().await?;
        }
        Ok(self.ledger)
    }

    /// Every map within the size limit, smallest first; with a loss limit, none larger than the
    /// first that meets it.
    async fn exhaustive(&mut self) -> Result<()> {
        let mut all = self.space.all();
        all.retain(|p| {
            let bytes = self.space.bytes(p);
            self.goal.max_bytes.is_none_or(|max| bytes <= max)
        });
        all.sort_by_key(|p| self.space.bytes(p));
        // The finest map first: it says what the others lose. The coarsest, so that there is
        // something to say where all are too large.
        let coarsest = self.space.choices.iter().map(|c| c.modes.len() as u8 - 1);
        self.measure(&[self.space.finest(), coarsest.collect()])
            .await?;
        for same in all.chunk_by(|a, b| self.space.bytes(a) == self.space.bytes(b)) {
            let mut same = same.to_vec();
            same.sort();
            self.measure(&same).await?;
            if self.goal.max_loss.is_some() && self.ledger.best(&self.goal).is_some() {
                break;
            }
        }
        Ok(())
    }

    async fn guided(&mut self) -> Result<()> {
        let effects = self.sensitivities().await?;
        let base = self.ledger.all.first().map_or(0.0, |m| m.loss);
        let mut surrogate = Surrogate::new(effects.clone(), base);
        let mut known = 0;
        let listed = (self.space.count() <= LISTED).then(|| self.space.all());
        if listed.is_none() {
            // Real losses along the whole front, for the surrogate to begin with.
            let mut front = knapsack(self.space, &self.space.finest(), &effects);
            let share = (self.left() / 5).clamp(1, 24);
            let every = front.len().div_ceil(share).max(1);
            front = front.into_iter().step_by(every).collect();
            self.measure(&front).await?;
        }
        let (mut turn, mut since, mut last_best) = (0, 0, None);
        while self.left() > 0 {
            for m in &self.ledger.all[known..] {
                // Beyond uniform guessing nothing is learnt from how much worse it is.
                surrogate.add(&m.point, m.loss.min(base + 20.0));
            }
            known = self.ledger.all.len();
            if turn % REFIT == 0 {
                surrogate.refit();
            }
            turn += 1;
            let candidates = match &listed {
                Some(all) => all.clone(),
                None => self.candidates(&surrogate),
            };
            let (next, chance) = self.worthwhile(&mut surrogate, candidates);
            let best = self.ledger.best(&self.goal).map(|m| m.point.clone());
            if best != last_best {
                (last_best, since) = (best, self.ledger.all.len());
            }
            // Predictions have been wrong before: hopeless means hopeless for a while.
            let idle = self.ledger.all.len() - since;
            if next.is_empty() || (chance < HOPELESS && idle > self.effort.max_evals / 3) {
                break;
            }
            let predicted: Vec<(f64, f64)> = next.iter().map(|p| surrogate.predict(p)).collect();
            self.measure(&next).await?;
            let measured = &self.ledger.all[known..];
            for ((mean, deviation), m) in predicted.into_iter().zip(measured) {
                surrogate.surprise((m.loss.min(base + 20.0) - mean) / deviation);
            }
        }
        Ok(())
    }

    /// Effects of every mode of every unit alone. Where the budget does not reach all of them,
    /// coarser modes are measured first, and the others are taken to be their share of what the
    /// coarser mode does.
    async fn sensitivities(&mut self) -> Result<Vec<Vec<f64>>> {
        let finest = self.space.finest();
        let mut singles = Vec::new();
        let deepest = self.space.choices.iter().map(|c| c.modes.len()).max();
        for mode in (1..deepest.unwrap_or(1)).rev() {
            for (unit, choice) in self.space.choices.iter().enumerate() {
                if mode < choice.modes.len() {
                    let mut point = finest.clone();
                    point[unit] = mode as u8;
                    singles.push(point);
                }
            }
        }
        let most = (self.effort.max_evals as f64 * SENSITIVITY_SHARE) as usize;
        singles.truncate(most.max(self.space.choices.len()).max(1));
        // Changes near the end share the most layers: the evaluator sorts them.
        singles.insert(0, finest.clone());
        // How damage adds up shows where every unit is in the same mode.
        for mode in 1..deepest.unwrap_or(1) {
            let modes = self.space.choices.iter();
            singles.push(modes.map(|c| mode.min(c.modes.len() - 1) as u8).collect());
        }
        self.measure(&singles).await?;
        let base = self.ledger.get(&finest).map_or(0.0, |m| m.loss);
        let measured = |unit: usize, mode: usize| {
            let mut point = finest.clone();
            point[unit] = mode as u8;
            let m = self.ledger.get(&point)?;
            Some(if m.loss.is_finite() {
                m.loss - base
            } else {
                20.0
            })
        };
        // Mean effect of every mode index, over the units where it was measured.
        let mean = |mode: usize| {
            let found: Vec<f64> = (0..finest.len())
                .filter_map(|u| measured(u, mode))
                .collect();
            (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
        };
        let effects = self.space.choices.iter().enumerate().map(|(unit, choice)| {
            let mut effects = vec![0.0; choice.modes.len()];
            for mode in (1..choice.modes.len()).rev() {
                let coarser = effects.get(mode + 1).copied();
                effects[mode] = measured(unit, mode).or(mean(mode)).unwrap_or_else(|| {
                    // A mode finer by one step costs about a tenth.
                    coarser.unwrap_or(0.0) * 0.1
                });
            }
            effects
        });
        Ok(effects.collect())
    }

    /// The unmeasured candidates most worth measuring, together.
    fn worthwhile(&self, surrogate: &mut Surrogate, candidates: Vec<Point>) -> (Vec<Point>, f64) {
        let best = self.ledger.best(&self.goal).cloned();
        let mut open: Vec<(Point, u64)> = candidates
            .into_iter()
            .filter(|p| !self.ledger.contains(p))
            .map(|p| {
                let bytes = self.space.bytes(&p);
                (p, bytes)
            })
            .filter(|(_, bytes)| {
                let within = self.goal.max_bytes.is_none_or(|max| *bytes <= max);
                let smaller = best.as_ref().is_none_or(|b| *bytes < b.bytes);
                within && (self.goal.max_loss.is_none() || smaller)
            })
            .collect();
        let mut chosen: Vec<Point> = Vec::new();
        let mut highest = 0.0f64;
        while chosen.len() < TOGETHER.min(self.left()) && !open.is_empty() {
            let worth = |(point, bytes): &(Point, u64)| {
                let (mean, deviation) = surrogate.predict(point);
                match self.goal.max_loss {
                    Some(max) => {
                        let chance = normal_cdf((max - mean) / deviation).max(1e-300);
                        let reference = best.as_ref().map_or_else(
                            || self.space.bytes(&self.space.finest()) + 1,
                            |b| b.bytes,
                        );
                        let gain = 1.0 - *bytes as f64 / reference.max(*bytes + 1) as f64;
                        (chance, chance * gain)
                    }
                    None => {
                        let lowest = best.as_ref().map_or(f64::INFINITY, |b| b.loss);
                        expected_improvement(mean, deviation, lowest)
                    }
                }
            };
            let scored = open.iter().map(worth).enumerate();
            let Some((at, (chance, _))) =
                scored.max_by(|(_, a), (_, b)| a.1.total_cmp(&b.1).then(a.0.total_cmp(&b.0)))
            else {
                break;
            };
            highest = highest.max(chance);
            let (point, _) = open.swap_remove(at);
            // The next one is chosen as if this one had turned out as predicted.
            let (mean, _) = surrogate.predict(&point);
            surrogate.add(&point, mean);
            chosen.push(point);
        }
        surrogate.forget(chosen.len());
        (chosen, highest)
    }

    /// Maps worth a look where not all can be: the knapsack's with the effects as they look around
    /// the best maps, and neighbors.
    fn candidates(&mut self, surrogate: &Surrogate) -> Vec<Point> {
        let mut seeds: Vec<Point> = Vec::new();
        if let Some(best) = self.ledger.best(&self.goal) {
            seeds.push(best.point.clone());
        }
        let front = self.ledger.front();
        let near = |m: &&&Trial| match (self.goal.max_loss, self.goal.max_bytes) {
            (Some(max), _) => (m.loss - max).abs(),
            (None, Some(max)) => (m.bytes as f64 / max as f64 - 1.0).abs(),
            (None, None) => 0.0,
        };
        let mut nearest: Vec<&&Trial> = front.iter().collect();
        nearest.sort_by(|a, b| near(a).total_cmp(&near(b)));
        seeds.extend(nearest.iter().take(6).map(|m| m.point.clone()));
        seeds.dedup();
        let mut found: Vec<Point> = Vec::new();
        for seed in seeds.iter().take(3) {
            let here = surrogate.predict(seed).0;
            let around = self.space.choices.iter().enumerate().map(|(unit, choice)| {
                let modes = (0..choice.modes.len()).map(|mode| {
                    let mut moved = seed.clone();
                    moved[unit] = mode as u8;
                    surrogate.predict(&moved).0 - here
                });
                modes.collect()
            });
            let around: Vec<Vec<f64>> = around.collect();
            found.extend(knapsack(self.space, seed, &around));
        }
        for seed in seeds.iter().take(2) {
            // Every single switch: a step of greedy descent.
            for (unit, choice) in self.space.choices.iter().enumerate() {
                for mode in 0..choice.modes.len() {
                    let mut moved = seed.clone();
                    moved[unit] = mode as u8;
                    found.push(moved);
                }
            }
        }
        for _ in 0..NEIGHBOURS {
            let mut moved = seeds[self.rng.below(seeds.len() as u64) as usize].clone();
            for _ in 0..2 + self.rng.below(2) {
                let unit = self.rng.below(moved.len() as u64) as usize;
                moved[unit] = self.rng.below(self.space.choices[unit].modes.len() as u64) as u8;
            }
            found.push(moved);
        }
        found.sort();
        found.dedup();
        found
    }
}

/// The maps that are best at every trade of bytes against loss when `effects` add up: at price λ
/// every unit takes the mode with the least effect + λ·bytes. Lagrange's relaxation of the
/// knapsack; finest first.
fn knapsack(space: &Space, from: &[u8], effects: &[Vec<f64>]) -> Vec<Point> {
    // Prices at which some unit changes its mind.
    let mut prices = vec![0.0f64];
    for (choice, effects) in space.choices.iter().zip(effects) {
        for a in 0..effects.len() {
            for b in 0..effects.len() {
                let (saved, lost) = (
                    choice.bytes[a] as f64 - choice.bytes[b] as f64,
                    effects[b] - effects[a],
                );
                if saved > 0.0 && lost > 0.0 {
                    prices.push(lost / saved * (1.0 + 1e-9));
                }
            }
        }
    }
    prices.sort_by(f64::total_cmp);
    let mut points: Vec<Point> = Vec::new();
    for price in prices {
        let mut point = from.to_vec();
        for (unit, (choice, effects)) in space.choices.iter().zip(effects).enumerate() {
            let cost = |mode: &usize| effects[*mode] + price * choice.bytes[*mode] as f64;
            let best = (0..effects.len()).min_by(|a, b| cost(a).total_cmp(&cost(b)));
            point[unit] = best.unwrap_or(0) as u8;
        }
        if points.last() != Some(&point) {
            points.push(point);
        }
    }
    points
}

fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

/// Chance of a loss below `lowest`, and the improvement to expect (Jones et al. 1998).
fn expected_improvement(mean: f64, deviation: f64, lowest: f64) -> (f64, f64) {
    if lowest.is_infinite() {
        return (1.0, -mean);
    }
    let z = (lowest - mean) / deviation;
    let chance = normal_cdf(z);
    let density = libm::exp(-0.5 * z * z) / (2.0 * std::f64::consts::PI).sqrt();
    (chance, (lowest - mean) * chance + deviation * density)
}
