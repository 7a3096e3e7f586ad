//! Whole training steps: every parameter's gradient against candle's autograd, and a run against
//! the CPU's.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use ternary::backend::cpu::CpuBackend;
use ternary::backend::gpu::GpuBackend;
use ternary::backend::{
    Backend, BackendError, BackendOptions, DeviceInfo, Later, MemoryLimits, MemoryUse, ProgramId,
};
use ternary::config::{ModelConfig, Optimizer, TrainConfig};
use ternary::data::{Batches, TrainingData};
use ternary::format::{FileSource, LocalFuture, OneBit};
use ternary::infer::Model;
use ternary::program::{BufferId, Program, RunParams};
use ternary::train::{MemoryPlan, StepReport, Trainer, Update};

use crate::decoder as model;
use crate::runs;

/// Run `test` on a GPU, one test at a time.
fn with_gpu(test: impl FnOnce(&mut GpuBackend)) {
    static TURN: Mutex<()> = Mutex::new(());
    if std::env::var("ONEBIT_GPU_TESTS").is_ok_and(|v| v == "off") {
        eprintln!("SKIPPED: GPU tests are switched off by ONEBIT_GPU_TESTS=off");
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    test(&mut device());
}

/// Relative error allowed for gradients: f32 sums of a few hundred terms, and WGSL's exp, tanh and
/// division of a few ulp.
const GRADIENT_TOLERANCE: f64 = 1e-3;
const SEEDS: [u64; 2] = [11, 12];

#[test]
fn gradients_of_every_mode_equal_autograd() {
    with_gpu(|gpu| model::check(gpu, &model::modes(), GRADIENT_TOLERANCE, &SEEDS));
}

#[test]
fn gradients_of_every_switch_equal_autograd() {
    with_gpu(|gpu| model::check(gpu, &model::switches(), GRADIENT_TOLERANCE, &SEEDS));
}

#[test]
fn gradients_of_every_weight_scale_equal_autograd() {
    with_gpu(|gpu| model::check(gpu, &model::weight_scales(), GRADIENT_TOLERANCE, &SEEDS));
}

#[test]
fn documents_that_share_a_sequence_learn_as_each_alone() {
    with_gpu(|gpu| model::check(gpu, &model::documents(), GRADIENT_TOLERANCE, &SEEDS));
}

#[test]
fn gradients_of_preference_equal_autograd() {
    with_gpu(|gpu| model::check(gpu, &model::preferences(), GRADIENT_TOLERANCE, &SEEDS));
}

#[test]
fn gradients_of_distillation_equal_autograd() {
    with_gpu(|gpu| model::check(gpu, &model::distillation(), GRADIENT_TOLERANCE, &SEEDS));
}

#[test]
fn a_wrong_gradient_fails_the_comparison() {
    with_gpu(|gpu| {
        let (case, name) = model::spoilt();
        let (error, which) = model::compare(gpu, &case, 11, Some(name));
        assert_eq!(which, name);
        assert!(error > 5.0 * GRADIENT_TOLERANCE, "{error}");
    });
}

/// A device of its own, for a trainer to keep; call it inside [`with_gpu`].
fn device() -> GpuBackend {
    device_with(&BackendOptions::default())
}

/// One that rounds operands of products to f16; none where shaders have no f16.
fn rounding_device(forms: &str) -> Option<GpuBackend> {
    let mut gpu = device_with(&BackendOptions {
        f16_products: true,
        ..BackendOptions::default()
    });
    if !gpu.info().name.contains("f16") {
        eprintln!("this adapter has no f16: products stay in f32");
        return None;
    }
    gpu.force_forms(forms).unwrap();
    Some(gpu)
}

fn device_with(options: &BackendOptions) -> GpuBackend {
    pollster::block_on(GpuBackend::new(options)).unwrap_or_else(|e| {
        panic!(
            "{e}. GPU tests need an adapter: a software one is enough \
             (apt-get install mesa-vulkan-drivers libvulkan1). ONEBIT_GPU_TESTS=off switches them off."
        )
    })
}

fn trainer(backend: impl Backend + 'static, steps: usize) -> Trainer {
    Trainer::new(Box::new(backend), runs::config(), runs::train(steps)).unwrap()
}

/// Figures of `steps` steps, read back once at the end.
fn reports(trainer: &mut Trainer, steps: usize) -> Vec<StepReport> {
    let data = runs::data();
    let mut batches = Batches::new(&data, trainer.seq, 1, trainer.config.vocab_size).unwrap();
    let mut reports = Vec::new();
    for step in 1..=steps {
        reports.extend(pollster::block_on(trainer.step(&mut batches, step == steps)).unwrap());
    }
    reports
}

/// Relative. Sums in another order move a loss by 1e-6; an activation that rounds to another int8
/// code by more, and the steps after it amplify that, on the CPU just as much when a weight is
/// changed by 1e-6.
const LOSS_TOLERANCE: f64 = 1e-3;
/// With operands in f16, as in the suite: steps differ by 2⁻¹¹ of a gradient, and codes turn one
/// step sooner or later. 1.7e-3 was seen.
const ROUNDED_LOSS_TOLERANCE: f64 = 1e-2;
/// Hard ternary weights on floats, and soft ones on int8 activations: bits of these, and the share
/// of steps in which weights are annealed.
const CURVES: [(Option<u32>, f32); 2] = [(None, 0.2), (Some(8), 1.0)];

/// The first 100 steps of a training.
fn curve(backend: impl Backend + 'static, (bits, annealed): (Option<u32>, f32)) -> Vec<StepReport> {
    let config = ModelConfig {
        activation_bits: bits,
        anneal_fraction: annealed,
        ..runs::config()
    };
    let train = TrainConfig {
        lr: 1e-3,
        ..runs::train(100)
    };
    reports(
        &mut Trainer::new(Box::new(backend), config, train).unwrap(),
        100,
    )
}

fn compare_curves(got: &[StepReport], want: &[StepReport], tolerance: f64) {
    assert_eq!((got.len(), want.len()), (100, 100));
    assert!(want[99].loss < 0.6 * want[0].loss, "nothing was learnt");
    let mut worst = 0.0f64;
    for (got, want) in got.iter().zip(want) {
        let error = (got.loss - want.loss).abs() / want.loss;
        worst = worst.max(error);
        assert!(error <= tolerance, "{got:?}, the CPU has {want:?}");
        assert_eq!(
            (got.step, got.tokens, got.lr),
            (want.step, want.tokens, want.lr)
        );
    }
    eprintln!("losses differ by at most {worst:.1e}");
}

#[test]
fn loss_curves_are_the_cpus() {
    with_gpu(|_| {
        for kind in CURVES {
            let want = curve(CpuBackend::new(2), kind);
            compare_curves(&curve(device(), kind), &want, LOSS_TOLERANCE);
        }
    });
}

#[test]
fn loss_curves_of_f16_operands_are_the_cpus_whatever_stores_them() {
    with_gpu(|_| {
        for kind in CURVES {
            let (Some(halved), Some(plain)) = (
                rounding_device("operands-f16"),
                rounding_device("operands-f32"),
            ) else {
                return;
            };
            let got = curve(halved, kind);
            let want = curve(CpuBackend::new(2), kind);
            compare_curves(&got, &want, ROUNDED_LOSS_TOLERANCE);
            assert!(got == curve(plain, kind));
        }
    });
}

#[test]
fn steps_are_the_same_from_run_to_run() {
    with_gpu(|_| {
        let run = || {
            let mut trainer = trainer(device(), 10);
            let reports = reports(&mut trainer, 10);
            let all = ternary::params::all(&trainer.config);
            let parameters: Vec<Vec<f32>> = all
                .iter()
                .map(|p| pollster::block_on(trainer.parameter(&p.name)).unwrap())
                .collect();
            (reports, parameters)
        };
        assert!(run() == run());
    });
}

/// Parameters and moments at the end of a run of twelve steps of two micro-batches, in `dir`.
fn last_checkpoint(dir: &Path, optimizer: Optimizer, stop_at: Option<usize>) -> [Vec<u8>; 2] {
    let train = TrainConfig {
        optimizer,
        accumulation_steps: 2,
        batch_size: 2,
        ..runs::train(12)
    };
    let data = TrainingData::Tokens(runs::data());
    let go = |resume: bool, stop_at: Option<usize>| {
        let options = runs::options(dir, resume);
        let mut observe = |update: Update| {
            if let (Update::Step(report), Some(at)) = (&update, stop_at)
                && report.step == at
            {
                options.stop.store(true, Ordering::Relaxed);
            }
        };
        let mut trainer = Trainer::new(Box::new(device()), runs::config(), train.clone()).unwrap();
        let run = ternary::train::run(&mut trainer, &data, None, &options, &mut observe);
        let summary = pollster::block_on(run).unwrap();
        assert_eq!(summary.stopped, stop_at.is_some());
    };
    go(false, stop_at);
    if stop_at.is_some() {
        go(true, None);
    }
    ["model.safetensors", "optimizer.safetensors"]
        .map(|file| std::fs::read(dir.join("step-0000012").join(file)).unwrap())
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    with_gpu(|_| {
        for optimizer in [Optimizer::AdamW, Optimizer::Muon] {
            let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let straight = last_checkpoint(a.path(), optimizer, None);
            assert!(straight == last_checkpoint(b.path(), optimizer, Some(5)));
        }
    });
}

/// A backend that counts its reads and the bytes of them.
struct Counting(GpuBackend, Rc<Cell<usize>>, Rc<Cell<usize>>);

impl Counting {
    fn counted<'a, T: AsRef<[u8]> + 'a>(
        bytes: Rc<Cell<usize>>,
        read: LocalFuture<'a, Result<Vec<T>, BackendError>>,
    ) -> LocalFuture<'a, Result<Vec<T>, BackendError>> {
        Box::pin(async move {
            let read = read.await?;
            let more: usize = read.iter().map(|part| part.as_ref().len()).sum();
            bytes.set(bytes.get() + more);
            Ok(read)
        })
    }
}

impl Backend for Counting {
    fn info(&self) -> DeviceInfo {
        Backend::info(&self.0)
    }

    fn upload(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackendError> {
        self.0.upload(name, bytes)
    }

    fn reserve(&mut self, name: &str, bytes: usize) -> Result<(), BackendError> {
        self.0.reserve(name, bytes)
    }

    fn upload_part(
        &mut self,
        name: &str,
        offset: usize,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), BackendError> {
        self.0.upload_part(name, offset, len, fill)
    }

    fn prepare(&mut self, program: Program) -> Result<ProgramId, BackendError> {
        self.0.prepare(program)
    }

    fn write(&mut self, id: ProgramId, buffer: BufferId, bytes: &[u8]) -> Result<(), BackendError> {
        self.0.write(id, buffer, bytes)
    }

    fn run(&mut self, id: ProgramId, run_params: &RunParams) -> Result<(), BackendError> {
        self.0.run(id, run_params)
    }

    fn grow<'a>(
        &'a mut self,
        sizes: &'a [(String, usize)],
    ) -> LocalFuture<'a, Result<(), BackendError>> {
        self.0.grow(sizes)
    }

    fn queues(&self) -> bool {
        self.0.queues()
    }

    fn throttle(&mut self) -> LocalFuture<'_, Result<(), BackendError>> {
        self.0.throttle()
    }

    fn read<'a>(
        &'a mut self,
        id: ProgramId,
        buffers: &'a [BufferId],
    ) -> LocalFuture<'a, Result<Vec<Vec<u8>>, BackendError>> {
        self.1.set(self.1.get() + 1);
        Self::counted(self.2.clone(), self.0.read(id, buffers))
    }

    fn read_later(&mut self, id: ProgramId, buffer: BufferId) -> Result<Later, BackendError> {
        self.1.set(self.1.get() + 1);
        self.0.read_later(id, buffer)
    }

    fn download<'a>(&'a mut self, name: &'a str) -> LocalFuture<'a, Result<Vec<u8>, BackendError>> {
        self.1.set(self.1.get() + 1);
        self.0.download(name)
    }

    fn plan(&self, programs: &[&Program]) -> MemoryUse {
        self.0.plan(programs)
    }

    fn memory(&self) -> MemoryUse {
        Backend::memory(&self.0)
    }

    fn limits(&self) -> MemoryLimits {
        self.0.limits()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

#[test]
fn only_logging_steps_read_back() {
    with_gpu(|_| {
        let reads = Rc::new(Cell::new(0));
        let mut trainer = trainer(Counting(device(), reads.clone(), Rc::default()), 20);
        assert_eq!(reports(&mut trainer, 7).len(), 7);
        assert_eq!(reads.get(), 1);
        assert_eq!((trainer.step, trainer.reported_step()), (7, 7));
    });
}

#[test]
fn a_decode_step_reads_nothing_but_the_candidates() {
    with_gpu(|_| {
        let (reads, bytes) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let source = FileSource::open("fixtures/v1.1bit".as_ref()).unwrap();
        let file = pollster::block_on(OneBit::open(&source)).unwrap();
        let backend = Box::new(Counting(device(), reads.clone(), bytes.clone()));
        let mut model =
            pollster::block_on(Model::load(backend, &file, &source, &mut |_| {})).unwrap();
        let loading = reads.replace(0);
        assert!(loading <= 1, "{loading} reads while loading");
        let mut next = 1;
        for step in 1..=8 {
            bytes.set(0);
            let candidates = pollster::block_on(model.feed(&[next], &[], 1.0)).unwrap();
            // An id and a logit each.
            assert_eq!((reads.get(), bytes.get()), (step, 8 * candidates.len()));
            assert!(candidates.len() <= 256);
            next = candidates[0].0;
        }
    });
}

#[test]
fn a_gradient_that_is_not_finite_is_named_and_leaves_the_parameters_alone() {
    with_gpu(|_| {
        let mut trainer = trainer(device(), 20);
        let data = runs::data();
        let mut batches = Batches::new(&data, trainer.seq, 1, trainer.config.vocab_size).unwrap();
        let first = "param.model.layers.0.mlp.down_proj.weight";
        pollster::block_on(trainer.step(&mut batches, false)).unwrap();
        let before = pollster::block_on(trainer.buffer(first)).unwrap();
        trainer
            .set_buffer("param.model.norm.weight", &[f32::NAN; 32])
            .unwrap();
        pollster::block_on(trainer.step(&mut batches, false)).unwrap();
        pollster::block_on(trainer.step(&mut batches, false)).unwrap();
        let error = pollster::block_on(trainer.report())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("step 2") && error.contains("the gradient of model."),
            "{error}"
        );
        assert_eq!(pollster::block_on(trainer.buffer(first)).unwrap(), before);
    });
}

#[test]
fn a_lost_device_stops_a_run_and_harms_no_checkpoint() {
    with_gpu(|_| {
        let dir = tempfile::tempdir().unwrap();
        let gpu = device();
        let destroy = gpu.device_destroyer();
        let data = runs::data();
        let mut observe = |update: Update| {
            if matches!(update, Update::Step(report) if report.step == 15) {
                destroy();
            }
        };
        let error = pollster::block_on(ternary::train::run(
            &mut trainer(gpu, 30),
            &TrainingData::Tokens(data),
            None,
            &runs::options(dir.path(), false),
            &mut observe,
        ))
        .unwrap_err()
        .to_string();
        // Figures are read every five steps, checkpoints written every ten.
        for part in ["lost", "step known to be good is 15", "step-0000010"] {
            assert!(error.contains(part), "{error}");
        }
        let left = ternary::train::checkpoint::list(dir.path()).unwrap();
        assert_eq!(left.len(), 1);
        ternary::train::checkpoint::restore(&mut trainer(CpuBackend::new(1), 30), &left[0])
            .unwrap();
    });
}

#[test]
fn the_memory_plan_is_what_is_allocated() {
    with_gpu(|_| {
        let plan = MemoryPlan::new(&device(), &runs::config(), &runs::train(1)).unwrap();
        assert_eq!(plan, trainer(device(), 1).memory());
        assert_eq!(plan.moments, 2 * plan.parameters);
        let (Some(halved), Some(plain)) = (
            rounding_device("operands-f16"),
            rounding_device("operands-f32"),
        ) else {
            return;
        };
        let activations = |gpu: GpuBackend| {
            let plan = MemoryPlan::new(&gpu, &runs::config(), &runs::train(1)).unwrap();
            assert_eq!(plan, trainer(gpu, 1).memory());
            plan.activations
        };
        assert_eq!(activations(plain), plan.activations);
        let halved = activations(halved);
        assert!(
            halved < plan.activations,
            "{halved} of {}",
            plan.activations
        );
    });
}
