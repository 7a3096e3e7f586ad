//! An optimizer's step in groups: to the bit what one operation after another gives, in few
//! dispatches.

use super::compare::{TRANSCENDENTAL, assert_close};
use super::matmul::rounding_device;
use super::*;
use crate::ProgramId;
use crate::bench::decoder::shape_5m;
use ternary_core::config::{LayerBitMap, LayerMode, ModelConfig, Optimizer, TrainConfig};
use ternary_model::program::{BufferKind, Program, Role};
use ternary_model::{Objective, UpdateProgram, record_train, record_update};

/// Layers of several modes. Lengths are no multiples of a binding's, some matrices are summed in
/// several stretches and multiplied in several parts, and a down projection has no equal.
fn ragged() -> ModelConfig {
    let mut map = LayerBitMap::sandwich(4, QuantMode::Ternary);
    map.layer_modes = [
        QuantMode::Ternary,
        QuantMode::F32,
        QuantMode::Binary,
        QuantMode::EightBit,
    ]
    .map(LayerMode::Whole)
    .to_vec();
    ModelConfig {
        vocab_size: 257,
        hidden_size: 36,
        num_heads: 2,
        num_kv_heads: Some(1),
        num_layers: 4,
        intermediate_size: 301,
        max_seq_len: 64,
        use_swiglu: true,
        use_qk_norm: true,
        arenas_initial: Some(0.2),
        latent_clip_max_training: 1.5,
        layer_bit_map: Some(map),
        ..ModelConfig::default()
    }
}

/// One layer, whose matrices have products of wide tiles; no two of its MLP are alike.
fn wide() -> ModelConfig {
    ModelConfig {
        vocab_size: 65,
        hidden_size: 72,
        num_heads: 4,
        num_kv_heads: Some(1),
        num_layers: 1,
        intermediate_size: 132,
        use_swiglu: false,
        ..ModelConfig::default()
    }
}

fn trained_by(optimizer: Optimizer) -> TrainConfig {
    TrainConfig {
        optimizer,
        muon_lr: (optimizer == Optimizer::Muon).then_some(0.03),
        muon_iterations: 3,
        ..TrainConfig::default()
    }
}

/// A step, and noise for every buffer that lives on behind it.
struct Start {
    shared: Vec<(String, Vec<u8>)>,
    update: UpdateProgram,
}

impl Start {
    fn new(config: &ModelConfig, train: &TrainConfig) -> Start {
        config.validate().unwrap();
        let update = record_update(config, train);
        let mut noise = Noise(3);
        let shared = update.program.buffers.iter().filter_map(|decl| {
            let Role::Shared(name) = &decl.role else {
                return None;
            };
            let mut values = noise.floats(decl.len, 1.0);
            if BufferKind::of(name) == Some(BufferKind::SecondMoment) {
                values.iter_mut().for_each(|v| *v *= *v);
            }
            Some((name.clone(), bytemuck::cast_slice(&values).to_vec()))
        });
        Start {
            shared: shared.collect(),
            update,
        }
    }

    fn upload(&self, backend: &mut dyn Backend) {
        for (name, bytes) in &self.shared {
            backend.upload(name, bytes).unwrap();
        }
    }

    /// What the step's buffers hold after some steps, each with gradients and rates of its own;
    /// `run` makes a step. The last gradient is not finite.
    fn steps(
        &self,
        backend: &mut dyn Backend,
        run: impl Fn(&mut dyn Backend, &RunParams),
    ) -> Vec<Vec<u8>> {
        let mut noise = Noise(4);
        let mut seen = Vec::new();
        for (step, lr) in [0.01, 0.003, 0.0, 0.02].into_iter().enumerate() {
            for (name, bytes) in &self.shared {
                if BufferKind::of(name) == Some(BufferKind::Grad) {
                    let mut values = noise.floats(bytes.len() / 4, 0.1);
                    if step == 3 {
                        values[0] = f32::NAN;
                    }
                    let bytes = bytemuck::cast_slice(&values);
                    backend.upload(name, bytes).unwrap();
                }
            }
            let run_params = RunParams {
                pos: step as u32,
                // Products alone do not know whether theirs are gradients.
                grad_scale: 1.0,
                lr,
                weight_decay: 0.1,
                momentum: 0.9,
                bias1: 5.0,
                bias2: 10.0,
                arenas: 0.1,
                float_share: 0.25,
                ..rows(1)
            };
            run(backend, &run_params);
            for (name, _) in &self.shared {
                seen.push(pollster::block_on(backend.download(name)).unwrap());
            }
        }
        seen
    }

    /// The whole step, and the dispatches that it takes.
    fn together(&self, gpu: &mut GpuBackend) -> (Vec<Vec<u8>>, usize) {
        gpu.clear();
        self.upload(gpu);
        let UpdateProgram {
            program,
            norms,
            history,
        } = &self.update;
        let id = gpu.prepare(program.clone()).unwrap();
        let mut seen = self.steps(gpu, |gpu, run_params| gpu.run(id, run_params).unwrap());
        seen.extend(pollster::block_on(gpu.read(id, &[*norms, *history])).unwrap());
        (seen, gpu.dispatches(id).unwrap())
    }

    /// With everything shared, so that an operation finds what one before it has left.
    fn kept(&self) -> Program {
        let mut program = self.update.program.clone();
        for (i, decl) in program.buffers.iter_mut().enumerate() {
            if !matches!(decl.role, Role::Shared(_)) {
                decl.role = Role::Shared(name(i));
            }
        }
        program
    }

    /// One operation after another, each a program.
    fn apart(&self, gpu: &mut GpuBackend) -> (Vec<Vec<u8>>, usize) {
        gpu.clear();
        self.upload(gpu);
        let programs = each(gpu, &self.kept());
        let mut seen = self.steps(gpu, |gpu, run_params| {
            for id in &programs {
                gpu.run(*id, run_params).unwrap();
            }
        });
        for id in [self.update.norms, self.update.history] {
            seen.push(pollster::block_on(gpu.download(&name(id.index()))).unwrap());
        }
        let dispatches = programs.iter().map(|id| gpu.dispatches(*id).unwrap());
        (seen, dispatches.sum())
    }

    #[track_caller]
    fn check(&self, gpu: &mut GpuBackend, what: &str) {
        let (want, alone) = self.apart(gpu);
        let (got, together) = self.together(gpu);
        assert!(together < alone, "{what}: {together} of {alone}");
        let count = self.shared.len();
        assert_eq!(want.len(), 4 * count + 2);
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let name = self.shared.get(i % count).map(|(name, _)| name);
            assert!(got == want, "{what}: {name:?} after step {}", i / count);
        }
        for (i, (name, before)) in self.shared.iter().enumerate() {
            assert!(want[i] != *before, "{what}: {name} stayed");
        }
    }
}

fn name(buffer: usize) -> String {
    format!("buffer {buffer}")
}

/// Every operation of a program as a program.
fn each(gpu: &mut GpuBackend, program: &Program) -> Vec<ProgramId> {
    let programs = program.ops.iter().map(|op| Program {
        ops: vec![op.clone()],
        ..program.clone()
    });
    programs.map(|p| gpu.prepare(p).unwrap()).collect()
}

#[test]
fn a_step_in_groups_gives_the_same_bits() {
    with_gpu(|gpu| {
        for optimizer in [Optimizer::AdamW, Optimizer::Muon] {
            let mut train = trained_by(optimizer);
            let start = Start::new(&ragged(), &train);
            start.check(gpu, &format!("{optimizer:?}"));
            // Without clipping, and with latents that are not told apart from other matrices.
            train.clip_norm = 0.0;
            let config = ModelConfig {
                latent_clip_max_training: 0.0,
                arenas_initial: None,
                ..ragged()
            };
            Start::new(&config, &train).check(gpu, &format!("{optimizer:?}, no clipping"));
        }
        for form in ["training-tiles", "training-wide-tiles"] {
            gpu.force_forms(form).unwrap();
            Start::new(&wide(), &trained_by(Optimizer::Muon)).check(gpu, form);
        }
        gpu.force_forms("").unwrap();
        if let Some(mut rounding) = rounding_device() {
            for config in [ragged(), wide()] {
                let start = Start::new(&config, &trained_by(Optimizer::Muon));
                start.check(&mut rounding, "operands in f16");
            }
        }
    });
}

#[test]
fn groups_of_more_than_one_binding_give_the_same_bits() {
    // Just enough for the largest matrix.
    const BINDING: u64 = 4 * 301 * 36;
    with_gpu(|gpu| {
        let limits = |limits: wgpu::Limits| wgpu::Limits {
            max_storage_buffer_binding_size: BINDING,
            ..limits
        };
        let options = BackendOptions::default();
        let mut small = pollster::block_on(GpuBackend::within(&options, limits)).unwrap();
        for optimizer in [Optimizer::AdamW, Optimizer::Muon] {
            let start = Start::new(&ragged(), &trained_by(optimizer));
            let (want, few) = start.together(gpu);
            let (got, more) = start.together(&mut small);
            assert!(few < more, "{few}, {more}");
            assert!(got == want, "{optimizer:?}");
        }
        // What is too large by itself is still told.
        let config = ModelConfig {
            vocab_size: 1000,
            ..ragged()
        };
        let start = Start::new(&config, &trained_by(Optimizer::AdamW));
        small.clear();
        let error = small.prepare(start.update.program).unwrap_err();
        assert!(
            matches!(error, BackendError::OutOfMemory { bytes, .. } if bytes == 4 * 36_000),
            "{error}"
        );
    });
}

#[test]
fn a_step_in_groups_follows_the_cpus() {
    with_gpu(|gpu| {
        let start = Start::new(&ragged(), &trained_by(Optimizer::AdamW));
        let (got, _) = start.together(gpu);
        let mut cpu = CpuBackend::new(2);
        start.upload(&mut cpu);
        let id = cpu.prepare(start.update.program.clone()).unwrap();
        let want = start.steps(&mut cpu, |cpu, run_params| cpu.run(id, run_params).unwrap());
        // With the norms and figures of all four steps, of which one is not finite.
        assert_eq!(got.len(), want.len() + 2);
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let (name, _) = &start.shared[i % start.shared.len()];
            assert_close(name, &elements(got), &f64s(&elements(want)), TRANSCENDENTAL);
        }
    });
}

#[test]
fn gradients_add_up_where_they_have_moved() {
    const SEQ: usize = 8;
    with_gpu(|gpu| {
        for optimizer in [Optimizer::AdamW, Optimizer::Muon] {
            let start = Start::new(&ragged(), &trained_by(optimizer));
            let micro = record_train(&ragged(), 1, SEQ, Objective::default(), true);
            let trained = |gpu: &mut GpuBackend, together: bool| -> Vec<Vec<u8>> {
                gpu.clear();
                for (name, bytes) in &start.shared {
                    let bytes = match BufferKind::of(name) {
                        Some(BufferKind::Grad) => vec![0; bytes.len()],
                        _ => bytes.clone(),
                    };
                    gpu.upload(name, &bytes).unwrap();
                }
                // Before the step, as a trainer does it.
                let id = gpu.prepare(micro.program.clone()).unwrap();
                let update = match together {
                    true => vec![gpu.prepare(start.update.program.clone()).unwrap()],
                    false => each(gpu, &start.kept()),
                };
                let run_params = RunParams {
                    grad_scale: 0.5 / SEQ as f32,
                    lr: 0.01,
                    momentum: 0.9,
                    bias1: 2.0,
                    bias2: 2.0,
                    ..rows(SEQ)
                };
                for batch in 0..4u32 {
                    let tokens: Vec<u32> = (0..SEQ as u32).map(|i| 31 * i + batch).collect();
                    for io in [micro.ids, micro.targets] {
                        gpu.write(id, io, bytemuck::cast_slice(&tokens)).unwrap();
                    }
                    gpu.run(id, &run_params).unwrap();
                    if batch % 2 == 1 {
                        for id in &update {
                            gpu.run(*id, &run_params).unwrap();
                        }
                    }
                }
                // Something is left to see of gradients, too.
                gpu.run(id, &run_params).unwrap();
                let names = start.shared.iter().map(|(name, _)| name);
                names
                    .map(|name| pollster::block_on(gpu.download(name)).unwrap())
                    .collect()
            };
            let want = trained(gpu, false);
            let got = trained(gpu, true);
            for ((name, _), (got, want)) in start.shared.iter().zip(got.iter().zip(&want)) {
                assert!(got == want, "{optimizer:?}: {name}");
                let values = elements::<f32>(want);
                assert!(
                    values.iter().all(|v| v.is_finite()),
                    "{optimizer:?}: {name}"
                );
            }
        }
    });
}

#[test]
fn buffers_that_move_keep_names_and_contents() {
    with_gpu(|gpu| {
        let start = Start::new(&ragged(), &trained_by(Optimizer::AdamW));
        start.upload(gpu);
        // One that has a parameter bound already.
        let (name, bytes) = &start.shared[0];
        let mut recorder = Recorder::new();
        let len = bytes.len() / 4;
        let x = recorder.shared(name, Elem::F32, len);
        let out = recorder.io(Elem::F32, len);
        recorder.push(Op::Scale {
            x,
            out,
            scale: 1.0,
            len,
            accumulate: false,
        });
        let earlier = gpu.prepare(recorder.finish("earlier")).unwrap();
        let update = gpu.prepare(start.update.program.clone()).unwrap();
        for (name, bytes) in &start.shared {
            let kept = pollster::block_on(gpu.download(name)).unwrap();
            assert!(kept == *bytes, "{name}");
        }
        let sees = |gpu: &mut GpuBackend, want: &[u8]| {
            gpu.run(earlier, &rows(1)).unwrap();
            let read = pollster::block_on(gpu.read(earlier, &[out])).unwrap();
            assert!(read[0] == want);
        };
        sees(gpu, bytes);
        let run_params = RunParams {
            lr: 0.01,
            bias1: 1.0,
            bias2: 1.0,
            ..rows(1)
        };
        gpu.run(update, &run_params).unwrap();
        let moved = pollster::block_on(gpu.download(name)).unwrap();
        assert!(moved != *bytes);
        sees(gpu, &moved);
        gpu.upload(name, bytes).unwrap();
        sees(gpu, bytes);
        // A second one finds them where they are.
        let dispatches = gpu.dispatches(update).unwrap();
        let second = gpu.prepare(start.update.program).unwrap();
        assert_eq!(gpu.dispatches(second).unwrap(), dispatches);
    });
}

#[test]
fn a_step_takes_few_dispatches() {
    with_gpu(|gpu| {
        let config = ModelConfig {
            use_qk_norm: true,
            ..shape_5m()
        };
        for (optimizer, counts) in [
            // Straight-through factors; stretches of norms, and these joined; the record; three
            // kinds of parameters.
            (Optimizer::AdamW, (222, 7)),
            // Matrices of three shapes besides, of each some 45 for all six layers.
            (Optimizer::Muon, (2070, 141)),
        ] {
            let train = TrainConfig {
                optimizer,
                ..TrainConfig::default()
            };
            let program = record_update(&config, &train).program;
            gpu.clear();
            let alone = each(gpu, &program);
            let alone = alone.iter().map(|id| gpu.dispatches(*id).unwrap()).sum();
            gpu.clear();
            let together = gpu.prepare(program).unwrap();
            let found: (usize, usize) = (alone, gpu.dispatches(together).unwrap());
            assert_eq!(found, counts, "{optimizer:?}");
        }
        gpu.clear();
    });
}
