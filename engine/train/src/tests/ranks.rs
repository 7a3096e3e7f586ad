//! Ranks that are threads: what they compute together is what one computes alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::checkpoint::{self, Companions};
use crate::{Error, Result, RunOptions, RunSummary, Trainer, Update, run};
use ternary_backend::cpu::CpuBackend;
use ternary_common::data::{BatchSource, Batches, TokenData, Windows};
use ternary_common::ranks::{Link, LinkError, LocalLink, Purpose, Ranks};
use ternary_core::config::{ModelConfig, TrainConfig};
use ternary_core::rng::Rng;

fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: 40,
        hidden_size: 32,
        num_heads: 4,
        num_layers: 2,
        intermediate_size: 64,
        max_seq_len: 12,
        arenas_initial: Some(0.3),
        arenas_anneal_steps: 20,
        ..ModelConfig::default()
    }
}

fn train(steps: usize) -> TrainConfig {
    TrainConfig {
        lr: 1e-2,
        lr_warmup_steps: 2,
        max_steps: steps,
        batch_size: 2,
        accumulation_steps: 4,
        dropout: 0.1,
        log_every: 1,
        save_every: 10,
        eval_every: 10,
        eval_batches: 5,
        ..TrainConfig::default()
    }
}

fn data() -> TokenData {
    let mut rng = Rng::new(3);
    let mut id = 0;
    let ids: Vec<u32> = (0..3000)
        .map(|_| {
            id = (id * 7 + 3 + rng.below(3) as u32) % 40;
            id
        })
        .collect();
    TokenData::from_ids(&ids, 40).unwrap()
}

/// Where a run writes, how it begins, and when it is asked to stop.
#[derive(Clone)]
struct Order {
    dir: PathBuf,
    train: TrainConfig,
    resume: bool,
    stop_at: Option<usize>,
}

impl Order {
    fn new(dir: &Path, train: TrainConfig) -> Self {
        Order {
            dir: dir.to_owned(),
            train,
            resume: false,
            stop_at: None,
        }
    }

    /// Train as one of several ranks, or alone.
    fn run(&self, ranks: Option<Ranks>) -> Result<RunSummary> {
        let backend = Box::new(CpuBackend::new(1));
        let mut trainer = Trainer::new(backend, config(), self.train.clone())?;
        if let Some(ranks) = ranks {
            trainer.join(ranks)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let options = RunOptions {
            output_dir: self.dir.clone(),
            companions: Companions {
                tokenizer: "{}".into(),
                chat_template: None,
            },
            resume: self.resume,
            stop: stop.clone(),
            tensorboard: false,
        };
        let mut observe = |update: Update| {
            if let Update::Step(report) = update {
                stop.fetch_or(
                    self.stop_at.is_some_and(|at| report.step >= at),
                    Ordering::Relaxed,
                );
            }
        };
        let (text, held_back) = (data().into(), data());
        let future = run(
            &mut trainer,
            &text,
            Some(&held_back),
            &options,
            &mut observe,
        );
        pollster::block_on(future)
    }

    /// What each of `size` ranks says; `change` is made to the links' rank.
    fn on<L: Link + Send + 'static>(
        &self,
        size: usize,
        change: impl Fn(LocalLink) -> L,
    ) -> Vec<Result<RunSummary>> {
        let links: Vec<L> = LocalLink::all(size).into_iter().map(change).collect();
        std::thread::scope(|scope| {
            let threads: Vec<_> = links
                .into_iter()
                .map(|link| scope.spawn(|| self.run(Some(Ranks::start(move || Ok(link)).unwrap()))))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    fn together(&self, size: usize) {
        for result in self.on(size, |link| link) {
            result.unwrap();
        }
    }
}

/// Lines of the metrics without what a clock says.
fn metrics(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value["seconds"] = Value::Null;
        value["tokens_per_second"] = Value::Null;
        value
    });
    lines.collect()
}

/// The newest checkpoint's files, the state without its clock.
fn newest(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let folder = checkpoint::resolve(dir).unwrap();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut bytes = std::fs::read(&path).unwrap();
        if name == "train_state.json" {
            let mut state: Value = serde_json::from_slice(&bytes).unwrap();
            state["seconds"] = Value::Null;
            bytes = state.to_string().into_bytes();
        }
        files.push((name, bytes));
    }
    files.sort();
    files
}

fn assert_same(a: &Path, b: &Path) {
    assert_eq!(metrics(a), metrics(b));
    let (a, b) = (newest(a), newest(b));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b));
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        assert!(a == b, "{name} differs");
    }
}

fn folders<const N: usize>() -> [tempfile::TempDir; N] {
    std::array::from_fn(|_| tempfile::tempdir().unwrap())
}

#[test]
fn ranks_train_what_one_with_accumulation_trains() {
    let [alone, two, three, four] = folders();
    Order::new(alone.path(), train(50)).run(None).unwrap();
    assert_eq!(metrics(alone.path()).len(), 50);
    for (size, dir) in [(2, &two), (3, &three), (4, &four)] {
        Order::new(dir.path(), train(50)).together(size);
        assert_same(alone.path(), dir.path());
    }
}

#[test]
fn sums_are_made_in_the_order_of_the_ranks() {
    const RANKS: usize = 5;
    // Several chunks, and a short one.
    let len = 150_001;
    let vectors: Vec<Vec<f32>> = (0..RANKS as u64)
        .map(|rank| {
            let mut rng = Rng::new(rank);
            (0..len).map(|_| rng.normal()).collect()
        })
        .collect();
    let sum = |order: [usize; RANKS]| -> Vec<f32> {
        let mut sum = vectors[order[0]].clone();
        for rank in &order[1..] {
            sum.iter_mut()
                .zip(&vectors[*rank])
                .for_each(|(s, v)| *s += v);
        }
        sum
    };
    let expected = sum([0, 1, 2, 3, 4]);
    assert_ne!(expected, sum([4, 3, 2, 1, 0]), "the order would not show");
    let found: Vec<Vec<f32>> = std::thread::scope(|scope| {
        let threads: Vec<_> = LocalLink::all(RANKS)
            .into_iter()
            .zip(&vectors)
            .map(|(link, values)| {
                scope.spawn(move || {
                    let mut ranks = Ranks::start(move || Ok(link)).unwrap();
                    let told = ranks.tell(vec![ranks.rank() as u8; 300_000]).unwrap();
                    assert!(told.len() == 300_000 && told.iter().all(|b| *b == 0));
                    ranks.sum(values.clone()).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(found.iter().all(|f| *f == expected));
}

#[test]
fn a_run_of_four_goes_on_with_two() {
    let [alone, changing] = folders();
    Order::new(alone.path(), train(30)).run(None).unwrap();
    let mut order = Order::new(changing.path(), train(30));
    order.stop_at = Some(13);
    order.together(4);
    assert!(metrics(changing.path()).len() < 30);
    order.resume = true;
    order.stop_at = Some(22);
    order.together(2);
    order.stop_at = None;
    order.run(None).unwrap();
    assert_same(alone.path(), changing.path());
}

/// A link that fails after some messages, as if the process had been killed.
struct Dying {
    link: Option<LocalLink>,
    left: usize,
    place: (usize, usize),
}

impl Link for Dying {
    fn rank(&self) -> usize {
        self.place.0
    }

    fn size(&self) -> usize {
        self.place.1
    }

    fn send(&mut self, to: usize, purpose: Purpose, bytes: &[u8]) -> Result<(), LinkError> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.link = None;
        }
        match &mut self.link {
            Some(link) => link.send(to, purpose, bytes),
            None => Err(LinkError::System("killed".into())),
        }
    }

    fn poll(&mut self, from: usize, purpose: Purpose) -> Result<Option<Vec<u8>>, LinkError> {
        match &mut self.link {
            Some(link) => link.poll(from, purpose),
            None => Err(LinkError::System("killed".into())),
        }
    }
}

#[test]
fn a_rank_that_dies_ends_the_run_and_costs_no_checkpoint() {
    let [alone, dir] = folders();
    Order::new(alone.path(), train(30)).run(None).unwrap();
    let mut order = Order::new(dir.path(), train(30));
    let results = order.on(3, |link| {
        let place = (link.rank(), link.size());
        // Some steps after the first checkpoint, in the middle of one.
        let left = if place.0 == 1 { 75 } else { usize::MAX };
        Dying {
            link: Some(link),
            left,
            place,
        }
    });
    assert!(results.iter().all(Result::is_err));
    let error = results[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("rank 0 of 3"), "{error}");
    assert!(error.contains("has ended"), "{error}");
    let last = checkpoint::resolve(dir.path()).unwrap();
    assert!(error.contains(&last.display().to_string()), "{error}");
    assert!(error.contains("--resume"), "{error}");
    order.resume = true;
    order.together(2);
    assert_same(alone.path(), dir.path());
}

#[test]
fn ranks_with_other_settings_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let links = LocalLink::all(2);
    let order = Order::new(dir.path(), train(5));
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = links
            .into_iter()
            .map(|link| {
                let mut order = order.clone();
                order.train.seed += link.rank() as u64;
                scope.spawn(move || order.run(Some(Ranks::start(move || Ok(link)).unwrap())))
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let [first, second] = [&results[0], &results[1]].map(|r| r.as_ref().unwrap_err().to_string());
    assert!(first.contains("rank 1 has ended"), "{first}");
    assert!(
        second.contains("another training configuration"),
        "{second}"
    );
}

#[test]
fn a_step_has_a_micro_batch_for_every_rank() {
    let mut trainer = Trainer::new(Box::new(CpuBackend::new(1)), config(), train(5)).unwrap();
    let mut links = LocalLink::all(5);
    let link = links.remove(0);
    let error = trainer.join(Ranks::start(move || Ok(link)).unwrap());
    let error = error.unwrap_err();
    assert!(matches!(
        error,
        Error::FewMicroBatches { micro: 4, ranks: 5 }
    ));
    assert!(
        error.to_string().contains("--accumulation-steps"),
        "{error}"
    );
}

fn local(steps: usize) -> TrainConfig {
    TrainConfig {
        sync_every: 5,
        dropout: 0.0,
        accumulation_steps: 2,
        ..train(steps)
    }
}

#[test]
fn a_run_of_local_steps_goes_on_where_it_stopped() {
    let [straight, paused] = folders();
    Order::new(straight.path(), local(30)).together(2);
    let mut order = Order::new(paused.path(), local(30));
    order.stop_at = Some(12);
    order.together(2);
    let stopped = checkpoint::resolve(paused.path()).unwrap();
    assert!(stopped.ends_with("step-0000015"), "{}", stopped.display());
    order.resume = true;
    order.stop_at = None;
    order.together(2);
    assert_same(straight.path(), paused.path());
}

/// Gives a process that trains alone the micro-batches of one of two ranks.
struct Half<'a> {
    rank: u64,
    batch: u64,
    of: &'a mut Batches,
}

impl BatchSource for Half<'_> {
    fn fill(&mut self, first: u64, count: usize, out: &mut Windows) -> ternary_common::Result<()> {
        let first = (first / self.batch * 2 + self.rank) * self.batch;
        self.of.fill(first, count, out)
    }
}

/// Two processes that train alone, averaged by hand in f64, are the oracle.
#[test]
fn a_round_of_local_steps_is_the_outer_step_of_the_mean() {
    let train = TrainConfig {
        max_steps: 100,
        lr_warmup_steps: 0,
        clip_norm: 0.0,
        ..local(5)
    };
    let mut oracle: Vec<Trainer> = (0..2)
        .map(|_| {
            let alone = TrainConfig {
                sync_every: 0,
                accumulation_steps: 1,
                ..train.clone()
            };
            Trainer::new(Box::new(CpuBackend::new(1)), config(), alone).unwrap()
        })
        .collect();
    let mut batches = Batches::new(&data(), 12, 1, 40).unwrap();
    let names: Vec<String> = oracle[0].trained().into_iter().map(|p| p.name).collect();
    let read = |t: &mut Trainer, kind: &str, name: &str| -> Vec<f32> {
        pollster::block_on(t.buffer(&format!("{kind}.{name}"))).unwrap()
    };
    let mut velocity: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    let mut expected = Vec::new();
    for _ in 0..2 {
        let starts: Vec<_> = names
            .iter()
            .map(|n| read(&mut oracle[0], "param", n))
            .collect();
        for (rank, trainer) in oracle.iter_mut().enumerate() {
            let mut half = Half {
                rank: rank as u64,
                batch: 2,
                of: &mut batches,
            };
            for _ in 0..5 {
                pollster::block_on(trainer.step(&mut half, true)).unwrap();
            }
        }
        expected.clear();
        for (i, name) in names.iter().enumerate() {
            let mean = |oracle: &mut [Trainer], kind: &str| -> Vec<f64> {
                let [a, b] = [0, 1].map(|r| read(&mut oracle[r], kind, name));
                let pairs = a.iter().zip(&b);
                pairs
                    .map(|(a, b)| (f64::from(*a) + f64::from(*b)) / 2.0)
                    .collect()
            };
            let theta = mean(&mut oracle, "param");
            velocity[i].resize(theta.len(), 0.0);
            let new: Vec<f32> = (0..theta.len())
                .map(|k| {
                    let start = f64::from(starts[i][k]);
                    let delta = start - theta[k];
                    velocity[i][k] = 0.9 * velocity[i][k] + delta;
                    (start - 0.7 * (delta + 0.9 * velocity[i][k])) as f32
                })
                .collect();
            for kind in ["m", "v"] {
                let mean: Vec<f32> = mean(&mut oracle, kind).iter().map(|v| *v as f32).collect();
                for t in &mut oracle {
                    t.set_buffer(&format!("{kind}.{name}"), &mean).unwrap();
                }
            }
            for t in &mut oracle {
                t.set_buffer(&format!("param.{name}"), &new).unwrap();
            }
            expected.push(new);
        }
    }
    let found: Vec<Vec<Vec<f32>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = LocalLink::all(2)
            .into_iter()
            .map(|link| {
                let (train, names, read) = (train.clone(), &names, &read);
                scope.spawn(move || {
                    let backend = Box::new(CpuBackend::new(1));
                    let mut trainer = Trainer::new(backend, config(), train).unwrap();
                    trainer
                        .join(Ranks::start(move || Ok(link)).unwrap())
                        .unwrap();
                    let mut batches = Batches::new(&data(), 12, 1, 40).unwrap();
                    for _ in 0..10 {
                        pollster::block_on(trainer.step(&mut batches, true)).unwrap();
                    }
                    names
                        .iter()
                        .map(|n| read(&mut trainer, "param", n))
                        .collect()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(found[0] == found[1], "the ranks are not at one model");
    let (mut off, mut size) = (0.0, 0.0);
    for (e, f) in expected.iter().flatten().zip(found[0].iter().flatten()) {
        off += f64::from(e - f).powi(2);
        size += f64::from(*e).powi(2);
    }
    assert!(
        size > 0.0 && off.sqrt() < 1e-4 * size.sqrt(),
        "{off} {size}"
    );
}
