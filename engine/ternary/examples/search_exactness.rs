//! How often a search finds the true optimum, beside random, additive and greedy search at the same
//! number of evaluations.
//!
//! ```sh
//! cargo run --release -p ternary --example search_exactness -- --text input.txt --cache tables/
//! ```
//!
//! Two float models (4 and 6 layers, hidden 128, context 64) are trained on the characters of the
//! text, and every one of their 256 and 4,096 bit-maps (4 modes per layer) is measured on held-back
//! text. Both are kept in the cache folder. Then 40 pairs of limits are set, and every method looks
//! for the best map in the table with 10 % of its evaluations, 40 at least, with 5 seeds.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example prints"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ternary::Result;
use ternary::backend::LocalFuture;
use ternary::backend::cpu::CpuBackend;
use ternary::config::{LayerBitMap, LrDecay, ModelConfig, QuantMode, TrainConfig};
use ternary::data::{Batches, TokenData};
use ternary::format::Metadata;
use ternary::model::Parameters;
use ternary::model::Remap;
use ternary::rng::Rng;
use ternary::search::{
    Effort, Evaluate, Goal, Granularity, Ledger, Point, Scorer, Space, SpaceOptions, Strategy,
    Task, Windows,
};
use ternary::train::Trainer;

const LIMITS: usize = 40;
const SEEDS: u64 = 5;
const VALIDATION_TOKENS: usize = 8192;
type AnyError = Box<dyn std::error::Error>;

fn config(layers: usize, vocab: usize) -> ModelConfig {
    ModelConfig {
        vocab_size: vocab,
        hidden_size: 128,
        num_heads: 4,
        num_layers: layers,
        intermediate_size: 512,
        max_seq_len: 64,
        use_rope: true,
        use_residual_scaling: false,
        use_dynamic_threshold: false,
        anneal_fraction: 0.0,
        layer_bit_map: Some(LayerBitMap::sandwich(layers, QuantMode::F16)),
        ..ModelConfig::default()
    }
}

/// Parameters of the float model, trained if the cache does not hold them.
fn model(config: &ModelConfig, train: &TokenData, cache: &Path) -> Result<Parameters, AnyError> {
    let path = cache.join(format!("float-{}.safetensors", config.num_layers));
    if path.exists() {
        let tensors = ternary::safetensors::parse(&std::fs::read(&path)?)?;
        return Ok(tensors.into_iter().map(|(n, (_, v))| (n, v)).collect());
    }
    let recipe = TrainConfig {
        lr: 5e-3,
        lr_decay: LrDecay::Cosine,
        lr_warmup_steps: 30,
        max_steps: 1000,
        batch_size: 12,
        beta2: 0.99,
        weight_decay: 0.01,
        ..TrainConfig::default()
    };
    let mut batches = Batches::new(train, config.max_seq_len, 1, config.vocab_size)?;
    let mut trainer = Trainer::new(Box::new(CpuBackend::new(0)), config.clone(), recipe)?;
    for step in 0..1000 {
        let report = step % 100 == 99;
        for r in pollster::block_on(trainer.step(&mut batches, report))? {
            if r.step % 100 == 0 {
                eprintln!(
                    "{} layers, step {}: loss {:.4}",
                    config.num_layers, r.step, r.loss
                );
            }
        }
    }
    let (mut tensors, mut parameters) = (Vec::new(), Parameters::new());
    let all: Vec<_> = trainer.trained().to_vec();
    for p in all {
        let values = pollster::block_on(trainer.parameter(&p.name))?;
        tensors.push((p.name.clone(), p.shape, values.clone()));
        parameters.insert(p.name, values);
    }
    std::fs::write(&path, ternary::safetensors::serialize(&tensors)?)?;
    Ok(parameters)
}

/// The loss of every map of the space, measured if the cache does not hold them.
fn table(
    space: &Space,
    task: impl FnOnce() -> Result<Task, AnyError>,
    path: &Path,
) -> Result<HashMap<Point, f64>, AnyError> {
    if path.exists() {
        let rows: Vec<(Point, f64)> = serde_json::from_slice(&std::fs::read(path)?)?;
        return Ok(rows.into_iter().collect());
    }
    let task = Arc::new(task()?);
    let points = space.all();
    let threads = std::thread::available_parallelism()?.get();
    let share = points.len().div_ceil(threads);
    let rows: Vec<(Point, f64)> = std::thread::scope(|scope| {
        let workers: Vec<_> = points
            .chunks(share)
            .map(|points| {
                let task = task.clone();
                scope.spawn(move || -> Result<Vec<(Point, f64)>> {
                    let mut scorer = Scorer::new(Box::new(CpuBackend::new(1)), task)?;
                    points
                        .iter()
                        .map(|p| {
                            let loss = pollster::block_on(scorer.sampled(&space.map(p)))?;
                            Ok((p.clone(), loss))
                        })
                        .collect()
                })
            })
            .collect();
        let joined = workers.into_iter().map(|w| match w.join() {
            Ok(rows) => rows,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect::<Result<Vec<_>>>()
    })?
    .concat();
    std::fs::write(path, serde_json::to_vec(&rows)?)?;
    Ok(rows.into_iter().collect())
}

/// Answers from the table.
struct Table<'a>(&'a HashMap<Point, f64>);

impl Evaluate for Table<'_> {
    fn losses<'a>(
        &'a mut self,
        points: &'a [Point],
    ) -> LocalFuture<'a, ternary::search::Result<Vec<f64>>> {
        Box::pin(async move { Ok(points.iter().map(|p| self.0[p]).collect()) })
    }

    fn full_loss<'a>(
        &'a mut self,
        point: &'a Point,
    ) -> LocalFuture<'a, ternary::search::Result<f64>> {
        Box::pin(async move { Ok(self.0[point]) })
    }
}

/// A method's best map and the maps it measured.
type Answer = (Option<(f64, u64)>, usize);

/// Looks for the best map with a seed.
type Method = fn(Counter, u64) -> Answer;

/// Measures as it is asked to, within a budget.
struct Counter<'a> {
    space: &'a Space,
    table: &'a HashMap<Point, f64>,
    goal: Goal,
    budget: usize,
    known: HashMap<Point, f64>,
    best: Option<(f64, u64)>,
}

impl Counter<'_> {
    /// None when the budget is spent.
    fn loss(&mut self, point: &Point) -> Option<f64> {
        if let Some(loss) = self.known.get(point) {
            return Some(*loss);
        }
        if self.known.len() == self.budget {
            return None;
        }
        let (loss, bytes) = (self.table[point], self.space.bytes(point));
        self.known.insert(point.clone(), loss);
        if self.goal.allows(loss, bytes)
            && self
                .best
                .is_none_or(|best| self.goal.prefers((loss, bytes), best))
        {
            self.best = Some((loss, bytes));
        }
        Some(loss)
    }

    fn answer(self) -> Answer {
        (self.best, self.known.len())
    }
}

fn singles(space: &Space, from: &Point) -> Vec<(usize, Point)> {
    let units = space.choices.iter().enumerate();
    units
        .flat_map(|(unit, choice)| {
            (0..choice.modes.len()).map(move |mode| {
                let mut point = from.clone();
                point[unit] = mode as u8;
                (unit, point)
            })
        })
        .filter(|(_, p)| p != from)
        .collect()
}

fn random(mut c: Counter, seed: u64) -> Answer {
    let mut rng = Rng::named(seed, "random");
    let modes: Vec<u64> = c
        .space
        .choices
        .iter()
        .map(|x| x.modes.len() as u64)
        .collect();
    loop {
        let point = modes.iter().map(|n| rng.below(*n) as u8).collect();
        if c.loss(&point).is_none() || c.known.len() == c.table.len() {
            return c.answer();
        }
    }
}

/// Sensitivities added up; the maps that should satisfy the goal are measured, the best first.
fn additive(mut c: Counter) -> Answer {
    let finest = c.space.finest();
    let base = c.loss(&finest).unwrap_or(0.0);
    let mut effects: Vec<Vec<f64>> = vec![Vec::new(); finest.len()];
    for (unit, choice) in c.space.choices.iter().enumerate() {
        for mode in 0..choice.modes.len() {
            let mut point = finest.clone();
            point[unit] = mode as u8;
            let loss = c.loss(&point).unwrap_or(base);
            effects[unit].push(loss - base);
        }
    }
    let predicted = |p: &Point| {
        let modes = effects.iter().zip(p);
        base + modes.map(|(e, m)| e[usize::from(*m)]).sum::<f64>()
    };
    let space = c.space;
    let mut all: Vec<(Point, f64, u64)> = space
        .all()
        .into_iter()
        .map(|p| (predicted(&p), space.bytes(&p), p))
        .map(|(loss, bytes, p)| (p, loss, bytes))
        .filter(|(_, loss, bytes)| c.goal.allows(*loss, *bytes))
        .collect();
    let goal = c.goal;
    all.sort_by(|a, b| {
        if goal.prefers((a.1, a.2), (b.1, b.2)) {
            std::cmp::Ordering::Less
        } else {
            std::cmp::Ordering::Greater
        }
    });
    for (point, ..) in all {
        if c.loss(&point).is_none() {
            break;
        }
    }
    c.answer()
}

/// From the finest map down: of all single switches that save bytes, the one that costs least for
/// each.
fn greedy(mut c: Counter) -> Answer {
    let mut here = c.space.finest();
    loop {
        let Some(now) = c.loss(&here) else {
            return c.answer();
        };
        let bytes = c.space.bytes(&here);
        let mut best: Option<(f64, Point)> = None;
        for (_, point) in singles(c.space, &here) {
            let saved = bytes as f64 - c.space.bytes(&point) as f64;
            if saved <= 0.0 {
                continue;
            }
            let Some(loss) = c.loss(&point) else {
                return c.answer();
            };
            let within = c.goal.max_loss.is_none_or(|max| loss <= max);
            let price = (loss - now) / saved;
            if within && best.as_ref().is_none_or(|(p, _)| price < *p) {
                best = Some((price, point));
            }
        }
        let done = c.goal.max_loss.is_none() && c.goal.max_bytes.is_some_and(|max| bytes <= max);
        match best {
            Some((_, point)) if !done => here = point,
            _ => return c.answer(),
        }
    }
}

fn ours(c: Counter, seed: u64) -> Answer {
    let effort = Effort {
        max_evals: c.budget,
        seed,
    };
    let mut table = Table(c.table);
    let mut ignore = |_: &Ledger| {};
    let search = Strategy::new(c.space, c.goal, effort, &mut table, &mut ignore);
    let ledger = match pollster::block_on(search.run()) {
        Ok(ledger) => ledger,
        Err(e) => {
            eprintln!("{e}");
            return (None, 0);
        }
    };
    let best = ledger.best(&c.goal).map(|m| (m.loss, m.bytes));
    (best, ledger.all.len())
}

/// Limits across the whole table: a loss, a size, or both.
fn limits(space: &Space, table: &HashMap<Point, f64>, seed: u64) -> Vec<Goal> {
    let mut losses: Vec<f64> = table.values().copied().collect();
    losses.sort_by(f64::total_cmp);
    let mut sizes: Vec<u64> = table.keys().map(|p| space.bytes(p)).collect();
    sizes.sort_unstable();
    let mut rng = Rng::named(seed, "limits");
    let mut at = |from: f64, to: f64| {
        let share = from + (to - from) * rng.uniform();
        (share * (losses.len() - 1) as f64) as usize
    };
    (0..LIMITS)
        .map(|i| {
            // Between two values, so that no limit is one map's own figure.
            let (loss, size) = (at(0.005, 0.9), at(0.01, 0.95));
            let loss = (losses[loss] + losses[loss + 1]) / 2.0;
            Goal {
                max_loss: (i % 4 != 1).then_some(loss),
                max_bytes: (i % 4 % 2 == 1).then_some(sizes[size]),
            }
        })
        .collect()
}

fn optimum(space: &Space, table: &HashMap<Point, f64>, goal: &Goal) -> Option<(f64, u64)> {
    let all = table.iter().map(|(p, loss)| (*loss, space.bytes(p)));
    all.filter(|(loss, bytes)| goal.allows(*loss, *bytes))
        .reduce(|a, b| if goal.prefers(b, a) { b } else { a })
}

fn compare(name: &str, space: &Space, table: &HashMap<Point, f64>) {
    let budget = (table.len() / 10).max(40);
    println!(
        "\n{name}: {} maps, {LIMITS} limits, {SEEDS} seeds, {budget} evaluations at most\n\n\
         | method | optimum found | mean evaluations | mean excess where missed |\n|---|---|---|---|",
        table.len()
    );
    let methods: [(&str, Method); 4] = [
        ("random", random),
        ("additive sensitivities, verified", |c, _| additive(c)),
        ("greedy", |c, _| greedy(c)),
        ("`onebit search`", ours),
    ];
    for (label, method) in methods {
        let (mut found, mut cases, mut spent, mut excess) = (0, 0, 0, Vec::new());
        for seed in 0..SEEDS {
            for goal in limits(space, table, seed) {
                let counter = Counter {
                    space,
                    table,
                    goal,
                    budget,
                    known: HashMap::new(),
                    best: None,
                };
                let (best, evaluations) = method(counter, seed);
                let want = optimum(space, table, &goal);
                // The smallest size may be shared by several maps; the lowest loss is not.
                let figure = |(loss, bytes): (f64, u64)| match goal.max_loss {
                    Some(_) => bytes as f64,
                    None => loss,
                };
                let (got, want) = (best.map(figure), want.map(figure));
                cases += 1;
                spent += evaluations;
                if got == want {
                    found += 1;
                } else if let (Some(got), Some(want)) = (got, want) {
                    excess.push(got / want - 1.0);
                }
            }
        }
        let mean = match excess.len() {
            0 => "-".into(),
            n => format!("{:.2} %", 100.0 * excess.iter().sum::<f64>() / n as f64),
        };
        println!(
            "| {label} | {found} of {cases} ({:.1} %) | {:.0} | {mean} |",
            100.0 * f64::from(found) / f64::from(cases),
            spent as f64 / f64::from(cases)
        );
    }
}

fn main() -> Result<(), AnyError> {
    let mut text = None;
    let mut cache = PathBuf::from("search-tables");
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().map(PathBuf::from);
        match (flag.as_str(), value) {
            ("--text", Some(path)) => text = Some(path),
            ("--cache", Some(path)) => cache = path,
            _ => {
                return Err(format!(
                    "unknown or incomplete argument {flag}; expected --text FILE [--cache DIR]"
                )
                .into());
            }
        }
    }
    let text = text.ok_or("--text FILE is missing: any text of a megabyte or so")?;
    let text = std::fs::read_to_string(&text)?;
    std::fs::create_dir_all(&cache)?;
    let mut characters: Vec<char> = text.chars().collect();
    let ids = characters.clone();
    characters.sort_unstable();
    characters.dedup();
    let number: HashMap<char, u32> = characters.iter().zip(0..).map(|(c, i)| (*c, i)).collect();
    let ids: Vec<u32> = ids.iter().map(|c| number[c]).collect();
    let (train, held_back) = ids.split_at(ids.len() * 9 / 10);
    for layers in [4, 6] {
        let config = config(layers, characters.len());
        let metadata = Metadata {
            config: config.clone(),
            ..Metadata::default()
        };
        let options = SpaceOptions {
            granularity: Granularity::Layer,
            modes: QuantMode::CHOICES.to_vec(),
            unpin: false,
        };
        let space = Space::new(&metadata, &options)?;
        let task = || -> Result<Task, AnyError> {
            let data = TokenData::from_ids(train, characters.len() as u32)?;
            let windows = Windows::new(held_back.to_vec(), config.max_seq_len, config.vocab_size)?;
            Ok(Task {
                parameters: model(&config, &data, &cache)?,
                remap: Remap::new(&config, &[]),
                sample: windows.sample(VALIDATION_TOKENS),
                config: config.clone(),
                windows,
            })
        };
        let table = table(&space, task, &cache.join(format!("losses-{layers}.json")))?;
        compare(&format!("{layers} layers"), &space, &table);
    }
    Ok(())
}
