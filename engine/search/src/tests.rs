//! Searches in made-up tables and in a real model.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::error::Result;
use ternary_backend::cpu::CpuBackend;
use ternary_common::bytes::LocalFuture;
use ternary_core::config::{LayerBitMap, ModelConfig, QuantMode};
use ternary_core::layout::Metadata;
use ternary_core::params;
use ternary_core::rng::Rng;
use ternary_model::Remap;

fn metadata(layers: usize) -> Metadata {
    Metadata {
        config: ModelConfig {
            vocab_size: 40,
            hidden_size: 32,
            num_heads: 2,
            num_layers: layers,
            intermediate_size: 64,
            max_seq_len: 16,
            embed_init_std: 0.3,
            init_std: 0.15,
            layer_bit_map: Some(LayerBitMap::sandwich(layers, QuantMode::F16)),
            ..ModelConfig::default()
        },
        ..Metadata::default()
    }
}

fn options(granularity: Granularity) -> SpaceOptions {
    SpaceOptions {
        granularity,
        modes: QuantMode::CHOICES.to_vec(),
        unpin: false,
    }
}

fn settings(granularity: Granularity) -> Settings {
    Settings {
        space: options(granularity),
        max_perplexity: None,
        max_bytes: None,
        max_evals: 40,
        sample_tokens: 0,
        seed: 7,
    }
}

/// Losses by rule; refuses to be asked twice.
struct Made<F> {
    loss: F,
    asked: HashMap<Point, usize>,
}

impl<F: Fn(&[u8]) -> f64> Made<F> {
    fn new(loss: F) -> Self {
        Made {
            loss,
            asked: HashMap::new(),
        }
    }
}

impl<F: Fn(&[u8]) -> f64> Evaluate for Made<F> {
    fn losses<'a>(&'a mut self, points: &'a [Point]) -> LocalFuture<'a, Result<Vec<f64>>> {
        for p in points {
            *self.asked.entry(p.clone()).or_default() += 1;
            assert_eq!(self.asked[p], 1, "{p:?} was measured before");
        }
        let losses = points.iter().map(|p| (self.loss)(p)).collect();
        Box::pin(async move { Ok(losses) })
    }

    fn full_loss<'a>(&'a mut self, point: &'a Point) -> LocalFuture<'a, Result<f64>> {
        let loss = (self.loss)(point);
        Box::pin(async move { Ok(loss) })
    }
}

/// Not additive: alone, the first unit does more harm than all together, as in measured models;
/// pairs interact at random.
fn rule(seed: u64, units: usize) -> impl Fn(&[u8]) -> f64 {
    let mut rng = Rng::named(seed, "rule");
    let weight: Vec<f64> = (0..units).map(|_| 0.02 + 0.2 * rng.uniform()).collect();
    let pairs: Vec<f64> = (0..units * units).map(|_| rng.uniform() - 0.5).collect();
    move |p: &[u8]| {
        let harm = |m: u8| [0.0, 0.002, 0.5, 1.0][usize::from(m)];
        let mut loss = 2.0;
        for i in 0..p.len() {
            loss += weight[i] * harm(p[i]);
            for j in 0..i {
                loss += 0.1 * pairs[i * units + j] * harm(p[i]) * harm(p[j]);
            }
        }
        let alone = p[1..].iter().all(|m| *m < 2);
        loss + if alone { 0.8 * harm(p[0]) } else { 0.0 }
    }
}

fn run(space: &Space, goal: Goal, evaluate: &mut dyn Evaluate, effort: Effort) -> Ledger {
    let mut ignore = |_: &Ledger| {};
    let strategy = Strategy::new(space, goal, effort, evaluate, &mut ignore);
    pollster::block_on(strategy.run()).unwrap()
}

/// One journal's worth of decisions, the measuring shared: each map once on one rank.
#[test]
fn ranks_find_what_one_finds() {
    use ternary_common::ranks::{LocalLink, Ranks};
    const RANKS: usize = 3;
    let space = Space::new(&metadata(4), &options(Granularity::Layer)).unwrap();
    let goal = Goal {
        max_loss: Some(2.4),
        max_bytes: None,
    };
    let effort = Effort {
        max_evals: 40,
        seed: 1,
    };
    let loss = rule(2, 4);
    let alone = run(&space, goal, &mut Made::new(&loss), effort);
    let (space, loss) = (&space, &loss);
    let measured: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = LocalLink::all(RANKS)
            .into_iter()
            .map(|link| {
                let alone = &alone;
                scope.spawn(move || {
                    let mut ranks = Ranks::start(move || Ok(link)).unwrap();
                    let mut made = Made::new(loss);
                    if ranks.leads() {
                        let mut together = Together::new(&mut made, ranks);
                        let ledger = run(space, goal, &mut together, effort);
                        assert_eq!(ledger.all, alone.all);
                    } else {
                        pollster::block_on(serve(&mut made, &mut ranks)).unwrap();
                    }
                    made.asked.len()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(measured.iter().sum::<usize>(), alone.all.len());
    assert!(measured.iter().all(|n| *n > 2), "{measured:?}");
}

/// The optimum of 256 maps in 40 evaluations, nearly always; never a map twice, never beyond the
/// budget.
#[test]
fn the_optimum_is_found() {
    let space = Space::new(&metadata(4), &options(Granularity::Layer)).unwrap();
    let all = space.all();
    let (mut found, mut cases) = (0, 0);
    for seed in 0..5 {
        let loss = rule(seed, 4);
        let mut losses: Vec<f64> = all.iter().map(|p| loss(p)).collect();
        losses.sort_by(f64::total_cmp);
        let mut rng = Rng::named(seed, "limits");
        for case in 0..12 {
            let at = (rng.uniform() * 200.0) as usize + 5;
            let size = space.bytes(&all[rng.below(256) as usize]);
            let goal = Goal {
                max_loss: (case % 3 != 1).then(|| (losses[at] + losses[at + 1]) / 2.0),
                max_bytes: (case % 3 != 0).then_some(size),
            };
            let effort = Effort {
                max_evals: 40,
                seed,
            };
            let mut made = Made::new(&loss);
            let ledger = run(&space, goal, &mut made, effort);
            assert!(ledger.all.len() <= 40);
            assert_eq!(ledger.all.len(), made.asked.len());
            let want = all
                .iter()
                .map(|p| (loss(p), space.bytes(p)))
                .filter(|(l, b)| goal.allows(*l, *b))
                .reduce(|a, b| if goal.prefers(b, a) { b } else { a });
            let got = ledger.best(&goal).map(|m| (m.loss, m.bytes));
            let figure = |(l, b): (f64, u64)| if goal.max_loss.is_some() { b as f64 } else { l };
            cases += 1;
            found += usize::from(got.map(figure) == want.map(figure));
        }
    }
    assert!(found * 100 >= cases * 95, "{found} of {cases}");
}

/// 4^35 maps: the search is far better than chance, and the same each time.
#[test]
fn large_spaces_are_searched_within_the_budget() {
    let space = Space::new(&metadata(6), &options(Granularity::Matrix)).unwrap();
    assert!(space.count() > 1 << 60);
    let loss = rule(3, space.choices.len());
    let goal = Goal {
        max_loss: Some(2.3),
        max_bytes: None,
    };
    let effort = Effort {
        max_evals: 250,
        seed: 1,
    };
    let once = run(&space, goal, &mut Made::new(&loss), effort);
    let again = run(&space, goal, &mut Made::new(&loss), effort);
    assert_eq!(once.all, again.all);
    assert!(once.all.len() <= 250);
    let best = once.best(&goal).unwrap().bytes;
    let mut rng = Rng::named(1, "chance");
    // Between 8-bit everywhere and modes at random everywhere.
    let chance = (0..20_000)
        .map(|_| {
            let share = rng.uniform();
            let mode = |_| match rng.uniform() < share {
                true => rng.below(4) as u8,
                false => 1,
            };
            (0..space.choices.len()).map(mode).collect()
        })
        .filter(|p: &Point| loss(p) <= 2.3)
        .map(|p| space.bytes(&p))
        .min()
        .unwrap();
    assert!(best < chance, "{best} {chance}");
}

#[test]
fn a_model_that_breaks_is_no_candidate() {
    let space = Space::new(&metadata(3), &options(Granularity::Layer)).unwrap();
    let broken = |p: &[u8]| {
        if p[1] == 3 {
            f64::NAN
        } else {
            2.0 + f64::from(p[0])
        }
    };
    let goal = Goal {
        max_loss: Some(2.5),
        max_bytes: None,
    };
    let effort = Effort {
        max_evals: 20,
        seed: 1,
    };
    let ledger = run(&space, goal, &mut Made::new(broken), effort);
    assert_eq!(ledger.best(&goal).unwrap().point, [0, 2, 3]);
}

fn task(layers: usize, sample: usize) -> (Arc<Space>, Arc<Task>) {
    let metadata = metadata(layers);
    let config = metadata.config.clone();
    let space = Space::new(&metadata, &options(Granularity::Layer)).unwrap();
    let parameters = params::all(&config)
        .into_iter()
        .map(|p| (p.name.clone(), p.init(&config, 2)))
        .collect();
    let ids = (0..3000u64).map(|i| (i * i % 37) as u32).collect();
    let windows = Windows::new(ids, config.max_seq_len, config.vocab_size).unwrap();
    let task = Task {
        remap: Remap::new(&config, &[]),
        sample: windows.sample(sample),
        config,
        parameters,
        windows,
    };
    (Arc::new(space), Arc::new(task))
}

fn tokens(task: &Task) -> Tokens {
    Tokens {
        sample: task.sample.len() * task.windows.seq,
        all: task.windows.tokens(),
    }
}

/// A perplexity that the finest map has to spare, and not every map has.
fn limit() -> f64 {
    let (space, task) = task(3, 0);
    let mut pool = Pool::new(space.clone(), task, 1).unwrap();
    pollster::block_on(pool.full_loss(&space.finest()))
        .unwrap()
        .exp()
        * 1.05
}

fn whole_search(threads: usize, limits: (Option<f64>, Option<u64>)) -> SearchResult {
    let (space, task) = task(3, 300);
    let mut pool = Pool::new(space.clone(), task.clone(), threads).unwrap();
    let settings = Settings {
        max_perplexity: limits.0,
        max_bytes: limits.1,
        max_evals: 30,
        ..settings(Granularity::Layer)
    };
    let mut ignore = |_| {};
    let search = search(&space, &settings, tokens(&task), &mut pool, &mut ignore);
    pollster::block_on(search).unwrap()
}

#[test]
fn threads_change_nothing_and_limits_hold_on_the_whole_text() {
    let limit = limit();
    let one = whole_search(1, (Some(limit), None));
    assert_eq!(one, whole_search(3, (Some(limit), None)));
    assert!(one.satisfied && one.perplexity <= limit);
    assert!(one.sample_tokens < one.validation_tokens);
    let (space, task) = task(3, 0);
    let mut local = Local::new(
        space.clone(),
        task.clone(),
        Scorer::new(Box::new(CpuBackend::new(1)), task).unwrap(),
    );
    let point = space.point(&one.layer_bit_map).unwrap();
    let again = pollster::block_on(local.full_loss(&point)).unwrap();
    assert_eq!(again.exp().to_bits(), one.perplexity.to_bits());
    let text = serde_json::to_string(&one).unwrap();
    let read: SearchResult = serde_json::from_str(&text).unwrap();
    assert_eq!(read.layer_bit_map, one.layer_bit_map);
    assert_eq!(read.settings, one.settings);
    assert_eq!(read.evaluations.len(), one.evaluations.len());
}

#[test]
fn limits_that_nothing_satisfies_are_said_to_be_so() {
    let tight = whole_search(1, (Some(1.5), Some(20_000)));
    assert!(!tight.satisfied);
    let small = whole_search(1, (None, Some(10)));
    assert!(!small.satisfied);
    let smallest = small.evaluations.iter().map(|e| e.size_bytes).min();
    assert_eq!(Some(small.size_bytes), smallest);
    for bad in [
        Settings {
            max_perplexity: Some(f64::NAN),
            ..settings(Granularity::Layer)
        },
        settings(Granularity::Layer),
    ] {
        assert!(bad.validate().is_err());
    }
}

/// Killed after any measurement, a search ends with the same result and measures nothing twice.
#[test]
fn a_journal_continues_a_search() {
    struct Dying<'a> {
        inner: &'a mut dyn Evaluate,
        left: usize,
        measured: usize,
    }
    impl Evaluate for Dying<'_> {
        fn losses<'a>(&'a mut self, points: &'a [Point]) -> LocalFuture<'a, Result<Vec<f64>>> {
            if self.left < points.len() {
                return Box::pin(async { Err(Error::Evaluator("killed".into())) });
            }
            self.left -= points.len();
            self.measured += points.len();
            self.inner.losses(points)
        }

        fn full_loss<'a>(&'a mut self, point: &'a Point) -> LocalFuture<'a, Result<f64>> {
            self.inner.full_loss(point)
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let (space, task) = task(3, 300);
    let settings = Settings {
        max_perplexity: Some(limit()),
        max_evals: 30,
        ..settings(Granularity::Layer)
    };
    let print = serde_json::json!({ "checkpoint": "a", "seed": 7 });
    let mut measured = 0;
    let mut attempt = |left: usize, resume: bool| {
        let mut pool = Pool::new(space.clone(), task.clone(), 1).unwrap();
        let mut dying = Dying {
            inner: &mut pool,
            left,
            measured: 0,
        };
        let result = {
            let mut journal = Journal::open(&mut dying, &path, &print, resume)?;
            let mut ignore = |_| {};
            let search = search(&space, &settings, tokens(&task), &mut journal, &mut ignore);
            pollster::block_on(search)
        };
        measured += dying.measured;
        result
    };
    assert!(attempt(9, false).is_err());
    // Half a line, as a kill leaves it.
    let mut text = std::fs::read_to_string(&path).unwrap();
    let lines = text.lines().count();
    text.push_str("{\"point\":[0,1");
    std::fs::write(&path, &text).unwrap();
    let refused = attempt(100, false).unwrap_err().to_string();
    assert!(refused.contains("--resume"), "{refused}");
    assert!(attempt(6, true).is_err());
    assert!(std::fs::read_to_string(&path).unwrap().lines().count() > lines);
    let result = attempt(100, true).unwrap();
    assert_eq!(result, whole_search(1, (Some(limit()), None)));
    assert_eq!(measured, result.evaluations.len());
    // One that is being written is left alone.
    let (mut first, mut second) = (
        Pool::new(space.clone(), task.clone(), 1).unwrap(),
        Pool::new(space.clone(), task.clone(), 1).unwrap(),
    );
    let writing = Journal::open(&mut first, &path, &print, true).unwrap();
    for resume in [true, false] {
        let e = Journal::open(&mut second, &path, &print, resume)
            .err()
            .unwrap();
        assert!(e.to_string().contains("another search is writing"), "{e}");
    }
    drop(writing);
    // Another search's journal is not taken.
    let other = serde_json::json!({ "checkpoint": "b", "seed": 7 });
    let mut pool = Pool::new(space, task, 1).unwrap();
    let e = Journal::open(&mut pool, &path, &other, true).err().unwrap();
    assert!(e.to_string().contains("checkpoint"), "{e}");
}
