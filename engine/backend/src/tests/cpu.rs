//! The recorded decoder on both backends.

use super::compare::{TRANSCENDENTAL, assert_close};
use super::*;
use crate::gpu::fuse;
use ternary_core::config::{CachePrecision, LayerBitMap, LayerMode, MatrixModes, ModelConfig};
use ternary_model::program::{BufferDecl, EmbedTable, Program, Role, Weight};
use ternary_model::{Logits, record_infer};

/// Sums of some ten thousand f32 values in another order.
const LONG_SUMS: f64 = 1e-4;
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
        // Heads wider than hidden / heads.
        ModelConfig {
            head_dim: Some(24),
            use_rope: true,
            use_sub_norm: true,
            ..base.clone()
        },
        // Heads of an odd number of pairs, not normalized.
        ModelConfig {
            hidden_size: 40,
            use_qk_norm: false,
            use_rope: true,
            ..base.clone()
        },
        ModelConfig {
            activation_bits: None,
            weight_scale: ternary_core::config::WeightScale::Group,
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

/// Repeatable contents for every buffer: weights in their layout, ids within the vocabulary, caches
/// and results zero.
fn contents(program: &Program, vocab: usize) -> Vec<Vec<u8>> {
    let mut noise = Noise(11);
    let mut contents: Vec<Vec<u8>> = program
        .buffers
        .iter()
        .map(|decl| match (&decl.role, decl.elem) {
            (Role::Shared(_), Elem::F32) => {
                let values: Vec<f32> = (0..decl.len)
                    .map(|_| 0.02 + noise.unit().abs() * 0.05)
                    .collect();
                bytemuck::cast_slice(&values).to_vec()
            }
            (Role::Io, Elem::U32) => {
                let ids: Vec<u32> = (0..decl.len)
                    .map(|_| (noise.next() % vocab as u64) as u32)
                    .collect();
                bytemuck::cast_slice(&ids).to_vec()
            }
            _ => vec![0; decl.bytes()],
        })
        .collect();
    for w in weights(program) {
        let mut writer = TileWriter::new(w.mode, w.out_dim, w.in_dim);
        for row in 0..w.out_dim {
            if !w.mode.is_quantized() {
                let values = noise.floats(w.in_dim, 0.3);
                writer.row_floats(row, &float_bytes(w.mode, &values));
            } else {
                writer.row(row, &noise.codes(w.mode, w.in_dim));
            }
        }
        contents[w.data.index()] = writer.finish();
    }
    contents
}

/// Some operations on given contents of all buffers; the contents afterwards of `outputs`.
fn run_alone(
    backend: &mut dyn Backend,
    program: Program,
    state: &[Vec<u8>],
    run_params: &RunParams,
    outputs: &[BufferId],
) -> Vec<Vec<u8>> {
    let inputs = fuse::access(&program.ops).reads;
    let id = backend.prepare(program).unwrap();
    for buffer in inputs {
        backend.write(id, buffer, &state[buffer.index()]).unwrap();
    }
    backend.run(id, run_params).unwrap();
    pollster::block_on(backend.read(id, outputs)).unwrap()
}

fn assert_same(what: &str, elem: Elem, got: &[u8], want: &[u8]) {
    match elem {
        Elem::I8 => {
            let flipped = got.iter().zip(want).filter(|(g, w)| g != w);
            let apart = |(g, w): (&u8, &u8)| (i32::from(*g as i8) - i32::from(*w as i8)).abs();
            assert!(flipped.clone().all(|pair| apart(pair) == 1), "{what}");
            let share = flipped.count() as f64 / got.len() as f64;
            assert!(share <= FLIPPED_CODES, "{what}: {share}");
        }
        Elem::F32 => {
            let want: Vec<f64> = elements::<f32>(want).into_iter().map(f64::from).collect();
            assert_close(what, &elements::<f32>(got), &want, TRANSCENDENTAL);
        }
        Elem::U32 => assert_eq!(got, want, "{what}"),
        // A value at a tie, which is computed in another order, is rounded the other way.
        Elem::F16 => {
            let (got, want) = (elements::<u16>(got), elements::<u16>(want));
            let flipped = got.iter().zip(&want).filter(|(g, w)| g != w);
            assert!(flipped.clone().all(|(g, w)| g.abs_diff(*w) == 1), "{what}");
            let share = flipped.count() as f64 / got.len() as f64;
            assert!(share <= FLIPPED_CODES, "{what}: {share}");
        }
    }
}

/// What a cache of codes holds, apart.
fn codes_and_scales(cache: &[u8], head_dim: usize) -> [Vec<u8>; 2] {
    let pitch = CachePrecision::Q8.head_bytes(head_dim);
    let heads = || cache.chunks(pitch).map(|head| head.split_at(head_dim));
    [
        heads().flat_map(|(codes, _)| codes).copied().collect(),
        heads().flat_map(|(_, scale)| scale).copied().collect(),
    ]
}

/// Candidates are in any order.
fn sorted_candidates(read: &[Vec<u8>]) -> Vec<(u32, u32)> {
    let mut pairs: Vec<_> = elements(&read[0])
        .into_iter()
        .zip(elements(&read[1]))
        .collect();
    pairs.sort_unstable();
    pairs
}

/// Each operation, or fused unit, of a prefill and of a decode step from the same inputs: the CPU's
/// results so far.
fn compare_with_cpu(
    gpu: &mut GpuBackend,
    config: &ModelConfig,
    rows_n: usize,
    pos: u32,
    fused: bool,
    cache: CachePrecision,
) {
    let program = record_infer(config, rows_n, Logits::Last, None, cache).program;
    let mut state = contents(&program, config.vocab_size);
    let run_params = RunParams {
        pos,
        rows: rows_n as u32,
        recent: 1,
        repetition_penalty: 1.3,
        ..RunParams::default()
    };
    let units = if fused {
        fuse::fuse(&program, None, false).units
    } else {
        (0..program.ops.len()).map(|i| i..i + 1).collect()
    };
    assert_eq!(fused, units.len() < program.ops.len());
    // Only scratch that nobody else needs is fused away; the CPU keeps everything.
    let with_roles = |ops: &[Op], keep_scratch: bool| Program {
        label: "unit".to_owned(),
        buffers: program
            .buffers
            .iter()
            .map(|decl| BufferDecl {
                role: match &decl.role {
                    Role::Scratch { slot } if keep_scratch => Role::Scratch { slot: *slot },
                    _ => Role::Io,
                },
                ..decl.clone()
            })
            .collect(),
        ops: ops.to_vec(),
        slots: Vec::new(),
    };
    let mut parts = Vec::new();
    for unit in units {
        match fuse::preparation(&program.ops[unit.clone()]).0 {
            None => parts.push((unit, None)),
            Some(_) => {
                let behind = unit.start + 1..unit.end;
                parts.push((unit.start..unit.start + 1, None));
                parts.push((behind, Some(unit)));
            }
        }
    }
    for (unit, whole) in parts {
        let ops = &program.ops[unit.clone()];
        let outputs = fuse::access(ops).writes;
        let want = run_alone(
            &mut CpuBackend::new(1),
            with_roles(ops, false),
            &state,
            &run_params,
            &outputs,
        );
        let names: Vec<_> = ops.iter().map(Op::name).collect();
        let what = format!("{} of {}: {}", unit.start, program.label, names.join(" + "));
        let mut run = |ops: &[Op], state: &[Vec<u8>], outputs: &[BufferId]| {
            let got = run_alone(gpu, with_roles(ops, fused), state, &run_params, outputs);
            gpu.clear();
            got
        };
        if let Some(whole) = whole {
            // A product that makes its input itself has the bits of one that is given it.
            let ops_of_whole = &program.ops[whole];
            let made = ops_of_whole[0].access().writes;
            let mut given = state.clone();
            for (id, bytes) in made.iter().zip(run(&ops_of_whole[..1], &state, &made)) {
                given[id.index()] = bytes;
            }
            let want = run(ops, &given, &outputs);
            assert!(run(ops_of_whole, &state, &outputs) == want, "{what}, fused");
        }
        let got = run(ops, &state, &outputs);
        if matches!(ops, [Op::TopK { .. }]) {
            assert_eq!(sorted_candidates(&got), sorted_candidates(&want), "{what}");
            continue;
        }
        for ((id, got), want) in outputs.iter().zip(&got).zip(want) {
            let decl = &program.buffers[id.index()];
            if matches!((&decl.role, decl.elem), (Role::Growing(_), Elem::I8)) {
                let ([codes, scales], [want_codes, want_scales]) = (
                    codes_and_scales(got, config.head_dim()),
                    codes_and_scales(&want, config.head_dim()),
                );
                assert_same(&what, Elem::I8, &codes, &want_codes);
                assert_same(&what, Elem::F32, &scales, &want_scales);
            } else {
                assert_same(&what, decl.elem, got, &want);
            }
            state[id.index()] = want;
        }
    }
}

#[test]
fn every_operation_agrees_with_the_cpu() {
    with_gpu(|gpu| {
        for config in configs() {
            for cache in CachePrecision::ALL.map(|cache| cache.of(&config)) {
                compare_with_cpu(gpu, &config, 5, 0, false, cache);
                compare_with_cpu(gpu, &config, 1, 7, false, cache);
            }
        }
    });
}

#[test]
fn fused_operations_agree_with_the_cpu() {
    with_gpu(|gpu| {
        for config in configs() {
            for cache in CachePrecision::ALL.map(|cache| cache.of(&config)) {
                compare_with_cpu(gpu, &config, 5, 0, true, cache);
                compare_with_cpu(gpu, &config, 1, 7, true, cache);
            }
        }
    });
}

/// The tokens that follow a prompt, greedily.
fn generate(
    backend: &mut dyn Backend,
    config: &ModelConfig,
    tokens: usize,
    cache: CachePrecision,
) -> Vec<u32> {
    let prompt = vec![3u32, 141, 59, 26, 53];
    let prefill = record_infer(config, prompt.len(), Logits::Last, None, cache);
    let decode = record_infer(config, 1, Logits::Last, None, cache);
    let values = contents(&prefill.program, config.vocab_size);
    for (decl, bytes) in prefill.program.buffers.iter().zip(&values) {
        if let Role::Shared(name) = &decl.role {
            backend.upload(name, bytes).unwrap();
        }
    }
    let prefill_id = backend.prepare(prefill.program).unwrap();
    let caches: Vec<(String, usize)> = decode
        .program
        .buffers
        .iter()
        .filter_map(|decl| match &decl.role {
            Role::Growing(name) => Some((name.clone(), decl.bytes() / config.max_seq_len)),
            _ => None,
        })
        .collect();
    assert_eq!(caches.len(), 2 * config.num_layers);
    let decode_id = backend.prepare(decode.program).unwrap();

    let mut generated = Vec::new();
    let mut pos = 0;
    let mut input = prompt;
    while generated.len() < tokens {
        // Rows as they are needed, so that what was written must survive.
        let sizes: Vec<(String, usize)> = caches
            .iter()
            .map(|(name, row)| (name.clone(), row * (pos + input.len())))
            .collect();
        pollster::block_on(backend.grow(&sizes)).unwrap();
        let (id, buffers) = if pos == 0 {
            (prefill_id, (prefill.ids, prefill.logits))
        } else {
            (decode_id, (decode.ids, decode.logits))
        };
        backend
            .write(id, buffers.0, bytemuck::cast_slice(&input))
            .unwrap();
        backend.run(id, &at(pos, input.len())).unwrap();
        let logits =
            elements::<f32>(&pollster::block_on(backend.read(id, &[buffers.1])).unwrap()[0]);
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
            for cache in CachePrecision::ALL.map(|cache| cache.of(&config)) {
                gpu.clear();
                let want = generate(&mut CpuBackend::new(1), &config, 12, cache);
                assert_eq!(generate(gpu, &config, 12, cache), want);
            }
        }
    });
}

/// A context as long as published models have, on a device that offers no more than WebGPU
/// promises everywhere.
#[test]
fn a_long_context_fits_into_the_limits_of_webgpu() {
    const CONTEXT: usize = 32_768;
    let config = ModelConfig {
        vocab_size: 301,
        hidden_size: 64,
        num_heads: 4,
        num_kv_heads: Some(2),
        num_layers: 1,
        intermediate_size: 64,
        max_seq_len: CONTEXT,
        use_rope: true,
        activation_bits: None,
        layer_bit_map: Some(LayerBitMap {
            embedding: QuantMode::F32,
            layer_modes: vec![LayerMode::Whole(QuantMode::F32)],
            lm_head: QuantMode::F32,
        }),
        ..ModelConfig::default()
    };
    let logits = |backend: &mut dyn Backend, rows_n: usize, cache: CachePrecision| {
        let infer = record_infer(&config, rows_n, Logits::Last, None, cache);
        let values = contents(&infer.program, config.vocab_size);
        let mut noise = Noise(5);
        let mut caches = Vec::new();
        for (decl, bytes) in infer.program.buffers.iter().zip(&values) {
            match &decl.role {
                Role::Shared(name) => backend.upload(name, bytes).unwrap(),
                Role::Growing(name) => {
                    let kept = kept_heads(&mut noise, cache, config.head_dim(), decl.bytes());
                    caches.push((name.clone(), kept));
                }
                _ => {}
            }
        }
        let id = backend.prepare(infer.program).unwrap();
        let sizes: Vec<_> = caches
            .iter()
            .map(|(n, kept)| (n.clone(), kept.len()))
            .collect();
        pollster::block_on(backend.grow(&sizes)).unwrap();
        for (name, kept) in &caches {
            backend.upload(name, kept).unwrap();
        }
        let ids: Vec<u32> = (0..rows_n as u32).collect();
        backend
            .write(id, infer.ids, bytemuck::cast_slice(&ids))
            .unwrap();
        backend.run(id, &at(CONTEXT - rows_n, rows_n)).unwrap();
        let read = pollster::block_on(backend.read(id, &[infer.logits])).unwrap();
        backend.clear();
        elements::<f32>(&read[0])
    };
    with_gpu(|_| {
        let limits = |_| wgpu::Limits::default();
        let options = BackendOptions::default();
        let mut gpu = pollster::block_on(GpuBackend::within(&options, limits)).unwrap();
        for cache in [CachePrecision::F16, CachePrecision::Q8] {
            for rows_n in [1, 9] {
                let want: Vec<f64> = f64s(&logits(&mut CpuBackend::new(1), rows_n, cache));
                let got = logits(&mut gpu, rows_n, cache);
                assert_close(&format!("{cache:?}, {rows_n} rows"), &got, &want, LONG_SUMS);
            }
        }
    });
}

/// So many bytes of a cache that is in use.
fn kept_heads(noise: &mut Noise, cache: CachePrecision, head_dim: usize, bytes: usize) -> Vec<u8> {
    if cache == CachePrecision::F16 {
        return float_bytes(QuantMode::F16, &noise.floats(bytes / 2, 1.0));
    }
    let mut kept = Vec::with_capacity(bytes);
    while kept.len() < bytes {
        let codes = noise.codes(QuantMode::EightBit, head_dim);
        kept.extend(codes.iter().map(|code| *code as u8));
        kept.extend((0.01f32 + noise.unit().abs() / 127.0).to_le_bytes());
    }
    kept
}
