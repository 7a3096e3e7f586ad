//! Evaluators: one scorer where it is, and scorers on threads of their own.

use std::sync::Arc;

use super::scorer::{Scorer, Task};
use super::space::{Point, Space};
use super::strategy::Evaluate;
use crate::error::Result;
use ternary_common::bytes::LocalFuture;

/// Points in the order in which neighbors share the most layers, by their places.
pub(super) fn by_prefix(points: &[Point]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| points[*a].cmp(&points[*b]));
    order
}

/// One scorer, on any backend: a GPU, or the browser.
pub struct Local {
    space: Arc<Space>,
    task: Arc<Task>,
    scorer: Scorer,
}

impl Local {
    /// Measures on the scorer's backend, one map after the other.
    pub fn new(space: Arc<Space>, task: Arc<Task>, scorer: Scorer) -> Self {
        Local {
            space,
            task,
            scorer,
        }
    }
}

impl Evaluate for Local {
    fn losses<'a>(&'a mut self, points: &'a [Point]) -> LocalFuture<'a, Result<Vec<f64>>> {
        Box::pin(async move {
            let mut losses = vec![0.0; points.len()];
            for at in by_prefix(points) {
                let map = self.space.map(&points[at]);
                losses[at] = self.scorer.sampled(&map).await?;
            }
            Ok(losses)
        })
    }

    fn full_loss<'a>(&'a mut self, point: &'a Point) -> LocalFuture<'a, Result<f64>> {
        Box::pin(async move {
            let windows = &self.task.windows;
            let map = self.space.map(point);
            let sums = self.scorer.sums(&map, &windows.all()).await?;
            Ok(sums.iter().sum::<f64>() / windows.tokens() as f64)
        })
    }
}

#[cfg(feature = "native")]
pub use threads::Pool;

#[cfg(feature = "native")]
mod threads {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::JoinHandle;

    use super::*;
    use crate::error::Error;
    use ternary_backend::cpu::CpuBackend;
    use ternary_core::config::LayerBitMap;

    enum Job {
        Sampled(usize, LayerBitMap),
        /// Which part of the windows, and the windows.
        Sums(usize, LayerBitMap, Vec<usize>),
    }

    type Done = (usize, Result<Vec<f64>>);

    struct Worker {
        jobs: Sender<Job>,
        thread: Option<JoinHandle<()>>,
    }

    /// Scorers on the CPU, each on its own threads; what they find does not depend on their number.
    pub struct Pool {
        space: Arc<Space>,
        task: Arc<Task>,
        workers: Vec<Worker>,
        done: Receiver<Done>,
        batch: usize,
    }

    /// The workers that memory allows, and the threads of each.
    fn share(task: &Task, threads: usize) -> (usize, usize) {
        // Latents and restored values, both f32, the kept streams and room to work.
        let need = 16 * task.config.parameter_count() as u64 + (1 << 30);
        let room = ternary_common::platform::available_memory().unwrap_or(u64::MAX) / 2;
        let workers = (room / need).clamp(1, threads as u64) as usize;
        (workers, threads / workers)
    }

    fn work(
        task: Arc<Task>,
        threads: usize,
        jobs: &Receiver<Job>,
        ready: &Sender<Result<usize>>,
        done: &Sender<Done>,
    ) {
        let mut scorer = match Scorer::new(Box::new(CpuBackend::new(threads)), task) {
            Ok(scorer) => scorer,
            Err(e) => {
                // The pool is not made then, and nobody listens any more.
                let _ = ready.send(Err(e));
                return;
            }
        };
        let _ = ready.send(Ok(scorer.batch));
        while let Ok(job) = jobs.recv() {
            let answer = match job {
                Job::Sampled(at, map) => {
                    let loss = pollster::block_on(scorer.sampled(&map));
                    (at, loss.map(|loss| vec![loss]))
                }
                Job::Sums(at, map, windows) => {
                    (at, pollster::block_on(scorer.sums(&map, &windows)))
                }
            };
            if done.send(answer).is_err() {
                return;
            }
        }
    }

    fn lost<T>(_: T) -> Error {
        Error::ThreadEnded
    }

    impl Pool {
        /// `threads` of them in all.
        ///
        /// # Errors
        /// A model that lacks a tensor.
        pub fn new(space: Arc<Space>, task: Arc<Task>, threads: usize) -> Result<Self> {
            let (count, each) = share(&task, threads.max(1));
            let (done_in, done) = channel();
            let (ready_in, ready) = channel();
            let mut workers = Vec::new();
            for _ in 0..count {
                let (jobs, receiver) = channel();
                let (task, done, ready) = (task.clone(), done_in.clone(), ready_in.clone());
                let thread = std::thread::spawn(move || work(task, each, &receiver, &ready, &done));
                workers.push(Worker {
                    jobs,
                    thread: Some(thread),
                });
            }
            let mut batch = 1;
            for _ in 0..count {
                batch = ready.recv().map_err(lost)??;
            }
            Ok(Pool {
                space,
                task,
                workers,
                done,
                batch,
            })
        }

        /// Answers to `count` jobs in the order of their places.
        fn collect(&self, count: usize) -> Result<Vec<Vec<f64>>> {
            let mut answers = vec![Vec::new(); count];
            let mut failed = None;
            for _ in 0..count {
                let (at, answer) = self.done.recv().map_err(lost)?;
                match answer {
                    Ok(values) => answers[at] = values,
                    Err(e) => failed = Some(e),
                }
            }
            failed.map_or(Ok(answers), Err)
        }
    }

    impl Evaluate for Pool {
        fn losses<'a>(&'a mut self, points: &'a [Point]) -> LocalFuture<'a, Result<Vec<f64>>> {
            Box::pin(async move {
                let order = by_prefix(points);
                // Neighbors go to the same worker, which has run their common layers.
                let share = order.len().div_ceil(self.workers.len()).max(1);
                for (worker, places) in self.workers.iter().zip(order.chunks(share)) {
                    for at in places {
                        let job = Job::Sampled(*at, self.space.map(&points[*at]));
                        worker.jobs.send(job).map_err(lost)?;
                    }
                }
                Ok(self.collect(points.len())?.concat())
            })
        }

        fn full_loss<'a>(&'a mut self, point: &'a Point) -> LocalFuture<'a, Result<f64>> {
            Box::pin(async move {
                let windows = &self.task.windows;
                let all = windows.all();
                let batches = all.len().div_ceil(self.batch);
                let share = batches.div_ceil(self.workers.len()).max(1) * self.batch;
                let parts = all.chunks(share);
                let count = parts.len();
                for (at, (worker, windows)) in self.workers.iter().zip(parts).enumerate() {
                    let job = Job::Sums(at, self.space.map(point), windows.to_vec());
                    worker.jobs.send(job).map_err(lost)?;
                }
                let sums = self.collect(count)?.concat();
                Ok(sums.iter().sum::<f64>() / windows.tokens() as f64)
            })
        }
    }

    impl Drop for Pool {
        fn drop(&mut self) {
            for worker in &mut self.workers {
                // Without its sender, a worker ends after the job in hand.
                worker.jobs = channel().0;
                if let Some(thread) = worker.thread.take() {
                    // A thread that panicked has said so.
                    let _ = thread.join();
                }
            }
        }
    }
}
