//! Operands of training's products that are kept in f16.

use super::compare::{F16_PRODUCTS, assert_close};
use super::matmul::rounding_device;
use super::*;
use crate::gpu::fuse;
use ternary_core::config::Activation;
use ternary_model::program::{AttentionShape, Program, Scores, WeightQuant};

/// Forward and backward of a matrix `[n, k]` on `m` rows, of an activation behind it, and of the
/// values of attention.
struct Layer {
    program: Program,
    contents: Vec<(BufferId, Vec<u8>)>,
    results: Vec<BufferId>,
}

/// Of gradients.
const SMALL: f32 = 1e-5;

impl Layer {
    /// `group` as [`WeightQuant`] has it; `seen`: the host sees what products multiply.
    fn new([m, n, k]: [usize; 3], group: usize, gated: bool, seen: bool) -> Layer {
        let mut noise = Noise((m * n * k) as u64);
        let mut case = Case::default();
        let mut values = |len, size| case.f32(&noise.floats(len, size));
        let (latent, x) = (values(n * k, 1.0), values(m * k, 1.0));
        let [gate, up, dout] =
            [(m * n, 1.0), (m * n, 1.0), (m * n, SMALL)].map(|(len, size)| values(len, size));
        let [q, keys, v, context, d_context] =
            [1.0, 1.0, 1.0, 1.0, SMALL].map(|size| values(m * n, size));
        let lse = values(m, 1.0);
        let mut results = Vec::new();
        let mut result = |case: &mut Case, len| {
            let out = case.out(len);
            results.push(out);
            out
        };
        let mut ops = Vec::new();
        let operand = |case: &mut Case, len| match seen {
            true => case.recorder.io(Elem::F32, len),
            false => case.recorder.f32(len),
        };
        let (weight, act) = (operand(&mut case, n * k), operand(&mut case, m * k));
        let (dgate, dv) = (operand(&mut case, m * n), operand(&mut case, m * n));
        let dup = gated.then(|| operand(&mut case, m * n));
        ops.push(Op::FakeQuantWeight {
            latent,
            out: weight,
            rows: n,
            cols: k,
            quant: WeightQuant {
                mode: QuantMode::EightBit,
                group,
                scaled: true,
                twn: false,
                centered: false,
                clamp: 0.0,
            },
            arenas: false,
        });
        ops.push(Op::FakeQuantAct {
            x,
            out: act,
            rows: m,
            dim: k,
        });
        ops.push(Op::ActivateBackward {
            gate,
            up: gated.then_some(up),
            dout,
            dgate,
            dup,
            activation: Activation::Silu,
            rows: m,
            dim: n,
        });
        let [dq, dk] = [0; 2].map(|_| result(&mut case, m * n));
        ops.push(Op::AttentionBackward {
            q,
            k: keys,
            v,
            positions: None,
            out: context,
            lse,
            dout: d_context,
            dq,
            dk,
            dv,
            shape: AttentionShape {
                batch: 1,
                seq: m,
                heads: 1,
                kv_heads: 1,
                head_dim: n,
                scores: Scores::plain(n),
            },
        });
        let mut product = |a, b, [m, n, k]: [usize; 3], [trans_a, trans_b]: [bool; 2]| {
            ops.push(Op::MatMul {
                a,
                b,
                out: result(&mut case, m * n),
                m,
                n,
                k,
                trans_a,
                trans_b,
                accumulate: false,
            });
        };
        product(act, weight, [m, n, k], [false, true]);
        for dy in [Some(dgate), dup, Some(dv)].into_iter().flatten() {
            product(dy, act, [n, k, m], [true, false]);
            product(dy, weight, [m, k, n], [false, false]);
        }
        let Case {
            mut recorder,
            contents,
        } = case;
        ops.into_iter().for_each(|op| recorder.push(op));
        Layer {
            program: recorder.finish("layer"),
            contents,
            results,
        }
    }

    fn run(&self, backend: &mut dyn Backend) -> (Vec<Vec<u8>>, u64) {
        let bytes = backend.plan(&[&self.program]).total();
        let id = backend.prepare(self.program.clone()).unwrap();
        assert_eq!(backend.memory().total(), bytes);
        for (buffer, bytes) in &self.contents {
            backend.write(id, *buffer, bytes).unwrap();
        }
        let run_params = RunParams {
            grad_scale: SMALL,
            ..RunParams::default()
        };
        backend.run(id, &run_params).unwrap();
        let read = pollster::block_on(backend.read(id, &self.results)).unwrap();
        backend.clear();
        (read, bytes)
    }
}

#[test]
fn operands_kept_in_f16_give_the_same_bits_from_less_memory() {
    with_gpu(|_| {
        let Some(mut gpu) = rounding_device() else {
            return;
        };
        for (shape, group, gated) in [
            ([1, 3, 5], 5, true),
            ([33, 65, 257], 257, false),
            ([65, 3, 65], 0, true),
            ([70, 85, 36], 12, true),
            ([132, 68, 72], 0, true),
        ] {
            let layer = Layer::new(shape, group, gated, false);
            let seen = Layer::new(shape, group, gated, true);
            gpu.force_forms("operands-f32").unwrap();
            let (want, plain) = layer.run(&mut gpu);
            gpu.force_forms("operands-f16").unwrap();
            let (got, halved) = layer.run(&mut gpu);
            assert!(want.iter().flatten().any(|byte| *byte != 0));
            assert_eq!(got, want, "{shape:?}");
            assert!(halved < plain, "{halved} of {plain} bytes");
            // What others may see stays as it is.
            assert_eq!(seen.run(&mut gpu).0, want, "{shape:?}");
            gpu.force_forms("").unwrap();
            assert_eq!(layer.run(&mut gpu), (got, halved));
            let (plain, _) = layer.run(&mut CpuBackend::new(1));
            for (i, (got, want)) in want.iter().zip(&plain).enumerate() {
                let got = elements::<f32>(got);
                let what = format!("result {i} of {shape:?}");
                assert_close(&what, &got, &f64s(&elements(want)), F16_PRODUCTS);
            }
        }
    });
}

#[test]
fn only_what_products_alone_read_is_kept_in_f16() {
    let halves = |layer: &Layer, extra: Option<Op>| {
        let mut program = layer.program.clone();
        program.ops.extend(extra);
        let fused = fuse::fuse(&program, None, true);
        let halves = fused.buffers.iter().filter(|b| b.elem == Elem::F16);
        halves.count()
    };
    let layer = Layer::new([4, 8, 16], 0, true, false);
    // Weight, activations, both gradients of the activation, and that of values.
    assert_eq!(halves(&layer, None), 5);
    assert_eq!(halves(&Layer::new([4, 8, 16], 0, false, false), None), 4);
    assert_eq!(halves(&Layer::new([4, 8, 16], 0, true, true), None), 0);
    let plain = fuse::fuse(&layer.program, None, false);
    assert!(plain.buffers.iter().all(|b| b.elem == Elem::F32));

    let of =
        |find: &dyn Fn(&Op) -> Option<BufferId>| layer.program.ops.iter().find_map(find).unwrap();
    let weight = of(&|op| match op {
        Op::FakeQuantWeight { out, .. } => Some(*out),
        _ => None,
    });
    let dup = of(&|op| match op {
        Op::ActivateBackward { dup, .. } => *dup,
        _ => None,
    });
    let read = |x| Op::Scale {
        x,
        out: layer.results[0],
        scale: 1.0,
        len: 1,
        accumulate: false,
    };
    // With a gradient goes its twin, and with a weight all: no left operand is in f16 alone.
    assert_eq!(halves(&layer, Some(read(dup))), 3);
    assert_eq!(halves(&layer, Some(read(weight))), 0);
}
