//! The recorded decoder on both backends.

use super::compare::{TRANSCENDENTAL, assert_close};
use super::*;
use crate::backend::cpu::CpuBackend;
use crate::config::{LayerBitMap, LayerMode, MatrixModes, ModelConfig};
use crate::model::{Logits, record_infer};
use crate::program::{BufferDecl, EmbedTable, Program, Role, Weight};

/// Share of int8 codes that f32 rounding may decide the other way.
const FLIPPED_CODES: f64 = 0.005;

/// Every mode, grouped scales, grouped-query attention.
fn configs() -> Vec<ModelConfig> {
    use QuantMode::{Binary, EightBit, F16, Ternary};
    let base = ModelConfig {
        vocab_size: 301,
        hidden_size: 64,
        num_heads: 4,
        num_kv_heads: Some(2),
        num_layers: 2,
        intermediate_size: 160,
        max_seq_len: 40,
        ..ModelConfig::default()
    };
    let mixed = MatrixModes {
        q: Ternary,
        k: Binary,
        v: EightBit,
        o: F16,
        gate: Binary,
        up: Ternary,
        down: EightBit,
    };
    vec![
        ModelConfig {
            use_swiglu: true,
            use_rope: true,
            use_sub_norm: true,
            tie_word_embeddings: false,
            layer_bit_map: Some(LayerBitMap {
                embedding: EightBit,
                layer_modes: vec![LayerMode::PerMatrix(mixed), LayerMode::Whole(Ternary)],
                lm_head: EightBit,
            }),
            ..base.clone()
        },
        ModelConfig {
            activation_bits: None,
            weight_scale: crate::config::WeightScale::Group,
            weight_group_size: 32,
            ..base
        },
    ]
}

fn weights(program: &Program) -> Vec<Weight> {
    let weights = program.ops.iter().filter_map(|op| match op {
        Op::Linear { weight, .. }
        | Op::Embed {
            table: EmbedTable::Weight(weight),
            ..
        } => Some(*weight),
        _ => None,
    });
    weights.collect()
}

/// Repeatable contents for every buffer: weights in their layout, ids within the vocabulary, caches and results zero.
fn contents(program: &Program, vocab: usize) -> Vec<Vec<u8>> {
    let mut noise = Noise(11);
    let mut contents: Vec<Vec<u8>> = program
        .buffers
        .iter()
        .map(|decl| match (&decl.role, decl.elem) {
            (Role::Shared(name), Elem::F32) if !name.starts_with("cache") => {
                let values: Vec<f32> = (0..decl.len).map(|_| 0.02 + noise.unit().abs() * 0.05).collect();
                bytemuck::cast_slice(&values).to_vec()
            }
            (Role::Io, Elem::U32) => {
                let ids: Vec<u32> = (0..decl.len).map(|_| (noise.next() % vocab as u64) as u32).collect();
                bytemuck::cast_slice(&ids).to_vec()
            }
            _ => vec![0; decl.bytes()],
        })
        .collect();
    for w in weights(program) {
        let mut writer = TileWriter::new(w.mode, w.out_dim, w.in_dim);
        for row in 0..w.out_dim {
            if w.mode == QuantMode::F16 {
                let row_values: Vec<f16> = noise.floats(w.in_dim, 0.3).into_iter().map(f16::from_f32).collect();
                writer.row_f16(row, bytemuck::cast_slice(&row_values));
            } else {
                writer.row(row, &noise.codes(w.mode, w.in_dim));
            }
        }
        contents[w.data.index()] = writer.finish();
    }
    contents
}

/// One operation on given contents of all buffers.
fn run_alone(backend: &mut dyn Backend, buffers: &[BufferDecl], op: &Op, state: &[Vec<u8>], knobs: &Knobs) -> Vec<Vec<u8>> {
    let program = Program {
        label: op.name().to_owned(),
        buffers: buffers.to_vec(),
        ops: vec![op.clone()],
        slots: Vec::new(),
    };
    let id = backend.prepare(program).unwrap();
    let access = op.access();
    for buffer in access.reads.iter().chain(&access.writes) {
        backend.write(id, *buffer, &state[buffer.index()]).unwrap();
    }
    backend.run(id, knobs).unwrap();
    pollster::block_on(backend.read(id, &access.writes)).unwrap()
}

/// Each operation of a prefill and of a decode step from the same inputs, which are the CPU's results so far.
#[test]
fn every_operation_agrees_with_the_cpu() {
    with_gpu(|gpu| {
        for config in configs() {
            for (rows_n, pos) in [(5, 0), (1, 7)] {
                let recorded = record_infer(&config, rows_n, Logits::Last);
                let mut program = recorded.program;
                let mut state = contents(&program, config.vocab_size);
                for decl in &mut program.buffers {
                    decl.role = Role::Io;
                }
                let knobs = Knobs {
                    pos,
                    rows: rows_n as u32,
                    recent: 1,
                    repetition_penalty: 1.3,
                    ..Knobs::default()
                };
                for (i, op) in program.ops.iter().enumerate() {
                    let want = run_alone(&mut CpuBackend::new(1), &program.buffers, op, &state, &knobs);
                    let got = run_alone(gpu, &program.buffers, op, &state, &knobs);
                    gpu.clear();
                    let what = format!("operation {i}, {}", op.name());
                    let writes = op.access().writes;
                    if matches!(op, Op::TopK { .. }) {
                        // In any order.
                        let pairs = |read: &[Vec<u8>]| {
                            let ids = elements::<u32>(&read[0]);
                            let mut pairs: Vec<_> = ids.into_iter().zip(elements::<f32>(&read[1]).into_iter().map(f32::to_bits)).collect();
                            pairs.sort_unstable();
                            pairs
                        };
                        assert_eq!(pairs(&got), pairs(&want), "{what}");
                        continue;
                    }
                    for ((id, got), want) in writes.iter().zip(&got).zip(want) {
                        if program.buffers[id.index()].elem == Elem::I8 {
                            let flipped = got.iter().zip(&want).filter(|(g, w)| g != w);
                            let apart = |(g, w): (&u8, &u8)| (i32::from(*g as i8) - i32::from(*w as i8)).abs();
                            assert!(flipped.clone().all(|pair| apart(pair) == 1), "{what}");
                            assert!((flipped.count() as f64) <= FLIPPED_CODES * got.len() as f64, "{what}");
                        } else {
                            let want: Vec<f64> = elements::<f32>(&want).into_iter().map(f64::from).collect();
                            assert_close(&what, &elements::<f32>(got), &want, TRANSCENDENTAL);
                        }
                        state[id.index()] = want;
                    }
                }
            }
        }
    });
}

/// The tokens that follow a prompt, greedily.
fn generate(backend: &mut dyn Backend, config: &ModelConfig, tokens: usize) -> Vec<u32> {
    let prompt = vec![3u32, 141, 59, 26, 53];
    let prefill = record_infer(config, prompt.len(), Logits::Last);
    let decode = record_infer(config, 1, Logits::Last);
    let values = contents(&prefill.program, config.vocab_size);
    for (decl, bytes) in prefill.program.buffers.iter().zip(&values) {
        if let Role::Shared(name) = &decl.role {
            backend.upload(name, decl.elem, bytes).unwrap();
        }
    }
    let prefill_id = backend.prepare(prefill.program).unwrap();
    let decode_id = backend.prepare(decode.program).unwrap();

    let mut generated = Vec::new();
    let mut pos = 0;
    let mut input = prompt;
    while generated.len() < tokens {
        let (id, buffers) = if pos == 0 {
            (prefill_id, (prefill.ids, prefill.logits))
        } else {
            (decode_id, (decode.ids, decode.logits))
        };
        backend.write(id, buffers.0, bytemuck::cast_slice(&input)).unwrap();
        backend.run(id, &at(pos, input.len())).unwrap();
        let logits = elements::<f32>(&pollster::block_on(backend.read(id, &[buffers.1])).unwrap()[0]);
        pos += input.len();
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        input = vec![best.unwrap() as u32];
        generated.extend(&input);
    }
    generated
}

#[test]
fn greedy_text_is_the_cpus() {
    with_gpu(|gpu| {
        for config in configs() {
            let want = generate(&mut CpuBackend::new(1), &config, 12);
            assert_eq!(generate(gpu, &config, 12), want);
        }
    });
}
