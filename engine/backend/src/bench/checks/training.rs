//! Operations that only training has.

use super::case::{Builder, Case};
use ternary_core::config::{Activation, QuantMode};
use ternary_model::program::{
    AttentionShape, Elem, Op, RelationShape, STEP_FIGURES, Scores, WeightQuant,
};

const ROWS: usize = 6;
const VOCAB: usize = 303;
/// Longer chains of sums, exp and divisions; and a CPU's matrix unit multiplies gradients in pieces
/// of 2⁻¹⁵.
const GRADIENTS: f64 = 2e-4;

/// At the ragged width `dim`.
pub(super) fn cases(dim: usize) -> Vec<Case> {
    let mut cases = quantizers(dim);
    cases.extend(products(dim));
    cases.extend(backwards(dim));
    cases.extend(losses(dim));
    cases.extend(steps(dim));
    cases
}

fn quantizers(dim: usize) -> Vec<Case> {
    let (rows, shape) = (ROWS, format!("{ROWS} x {dim}"));
    let mut cases = Vec::new();
    for mode in [QuantMode::Ternary, QuantMode::Binary, QuantMode::EightBit] {
        for (group, twn, anneal) in [(0, true, 0.0), (dim, false, 0.0), (0, false, 1.5)] {
            let mut b = Builder::new(rows);
            b.rounds();
            b.tolerance = GRADIENTS;
            b.run_params.anneal = anneal;
            b.run_params.arenas = 0.1;
            b.run_params.float_share = if twn { 0.0 } else { 0.3 };
            let op = Op::FakeQuantWeight {
                latent: b.floats(rows * dim),
                out: b.zeros(rows * dim),
                rows,
                cols: dim,
                quant: WeightQuant {
                    mode,
                    group,
                    scaled: true,
                    twn,
                    centered: mode == QuantMode::Binary,
                    clamp: 1.5,
                },
                arenas: anneal > 0.0,
            };
            b.push(op);
            cases.push(b.finish(format!("{shape} {mode}, groups of {group}")));
        }
    }
    let mut b = Builder::new(rows);
    b.run_params.float_share = 0.3;
    let op = Op::SteBackward {
        latent: b.floats(rows * dim),
        grad: b.floats(rows * dim),
        len: rows * dim,
        ste: 2.0,
        clamp: 1.2,
        arenas: false,
    };
    b.push(op);
    cases.push(b.finish(shape.clone()));
    let mut b = Builder::new(rows);
    b.rounds();
    let op = Op::FakeQuantAct {
        x: b.floats(rows * dim),
        out: b.zeros(rows * dim),
        rows,
        dim,
    };
    b.push(op);
    cases.push(b.finish(shape));
    cases
}

fn products(dim: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    let flags = [false, true];
    // The others are cut along k, and the last has wide tiles.
    let long = 4 * dim + 700;
    for (m, n, k) in [(dim, dim + 3, dim + 1), (17, 9, long), (132, 68, long)] {
        for trans_a in flags {
            for trans_b in flags {
                let mut b = Builder::new(m);
                b.tolerance = GRADIENTS;
                let op = Op::MatMul {
                    a: b.floats(m * k),
                    b: b.floats(k * n),
                    out: b.floats(m * n),
                    m,
                    n,
                    k,
                    trans_a,
                    trans_b,
                    accumulate: trans_a == trans_b,
                };
                b.push(op);
                cases.push(b.finish(format!("{m} x {n} x {k}, {trans_a} {trans_b}")));
            }
        }
    }
    cases
}

fn backwards(dim: usize) -> Vec<Case> {
    let (rows, shape) = (ROWS, format!("{ROWS} x {dim}"));
    let len = rows * dim;
    let mut cases = Vec::new();
    let mut add = |b: Builder, what: &str| cases.push(b.finish(format!("{shape}{what}")));
    let new = || {
        let mut b = Builder::new(rows);
        b.tolerance = GRADIENTS;
        b
    };

    for accumulate in [false, true] {
        let mut b = new();
        let op = Op::RmsNormBackward {
            x: b.floats(2 * len),
            weight: b.floats(dim),
            rstd: b.positive(2 * rows),
            dy: b.floats(2 * len),
            dx: b.floats(2 * len),
            dweight: b.floats(dim),
            rows,
            groups: 2,
            dim,
            accumulate,
        };
        b.push(op);
        add(b, "");
    }

    for (seq, window, documents) in [
        (rows / 2, None, None),
        (3 * ROWS, Some(7), None),
        (3 * ROWS, Some(40), Some(45)),
    ] {
        let batch = 2;
        let head_dim = dim.min(66);
        let shape = AttentionShape {
            batch,
            seq,
            heads: 4,
            kv_heads: 2,
            head_dim,
            scores: Scores {
                window,
                ..Scores::plain(head_dim)
            },
        };
        let (q_len, kv_len) = (batch * seq * 4 * head_dim, batch * seq * 2 * head_dim);
        let mut b = new();
        b.run_params.rows = (batch * seq) as u32;
        b.run_params.pos = 0;
        let (q, k, v) = (b.floats(q_len), b.floats(kv_len), b.floats(kv_len));
        let positions = documents.map(|len| b.positions(batch, seq, len));
        let (out, lse) = (b.zeros(q_len), b.zeros(batch * 4 * seq));
        b.push(Op::Attention {
            q,
            k,
            v,
            positions,
            out,
            lse,
            shape,
        });
        let op = Op::AttentionBackward {
            q,
            k,
            v,
            positions,
            out,
            lse,
            dout: b.floats(q_len),
            dq: b.zeros(q_len),
            dk: b.zeros(kv_len),
            dv: b.zeros(kv_len),
            shape,
        };
        b.push(op);
        add(b, &format!(", sequences of {seq}"));
    }

    for activation in Activation::ALL.iter().copied() {
        for gated in [false, true] {
            let mut b = new();
            let op = Op::ActivateBackward {
                gate: b.floats(len),
                up: gated.then(|| b.floats(len)),
                dout: b.floats(len),
                dgate: b.zeros(len),
                dup: gated.then(|| b.zeros(len)),
                activation,
                rows,
                dim,
            };
            b.push(op);
            add(b, &format!(" {}", activation.name()));
        }
    }

    let mut b = new();
    let op = Op::Scale {
        x: b.floats(len),
        out: b.floats(len),
        scale: 0.3,
        len,
        accumulate: true,
    };
    b.push(op);
    add(b, "");

    let mut b = new();
    b.run_params.seed = 11;
    let op = Op::Dropout {
        x: b.floats(len),
        len,
        rate: 0.3,
        stream: 5,
    };
    b.push(op);
    add(b, "");

    let mut b = new();
    let op = Op::BiasBackward {
        dy: b.floats(len),
        dbias: b.floats(dim),
        rows,
        dim,
    };
    b.push(op);
    add(b, "");

    let mut b = new();
    let op = Op::SoftcapBackward {
        x: b.floats(len),
        dout: b.floats(len),
        cap: 1.5,
        len,
    };
    b.push(op);
    add(b, "");

    let mut b = new();
    let op = Op::EmbedBackward {
        ids: b.ids(rows, 3),
        dout: b.floats(len),
        dtable: b.floats(5 * dim),
        scale: 0.5,
        rows,
        dim,
        vocab: 5,
    };
    b.push(op);
    add(b, "");

    let mut b = new();
    let op = Op::PositionBackward {
        dx: b.floats(len),
        dtable: b.floats(3 * dim),
        rows,
        seq: 3,
        dim,
    };
    b.push(op);
    add(b, "");
    cases
}

fn losses(dim: usize) -> Vec<Case> {
    let (rows, vocab) = (ROWS, VOCAB + dim);
    let mut cases = Vec::new();
    for grad in [false, true] {
        let mut b = Builder::new(rows);
        b.tolerance = GRADIENTS;
        let op = Op::CrossEntropy {
            logits: b.floats(rows * vocab),
            targets: b.ids(rows, vocab),
            losses: b.zeros(rows),
            rows,
            vocab,
            z_loss: 1e-3,
            grad,
        };
        b.push(op);
        cases.push(b.finish(format!("{rows} x {vocab}")));
    }
    let mut b = Builder::new(rows);
    b.tolerance = GRADIENTS;
    let op = Op::KlDivergence {
        logits: b.floats(rows * vocab),
        teacher: b.floats(rows * vocab),
        targets: b.ids(rows, vocab),
        losses: b.zeros(rows),
        rows,
        vocab,
        weight: 0.7,
        temperature: 2.0,
    };
    b.push(op);
    cases.push(b.finish(format!("{rows} x {vocab}")));
    cases.push(relations(dim));
    let pairs = 2;
    let n = pairs * 2 * ROWS;
    let mut b = Builder::new(n);
    b.tolerance = GRADIENTS;
    let op = Op::PreferenceLoss {
        targets: b.ids(n, vocab),
        losses: b.positive(n),
        reference: b.positive(n),
        d_logits: Some(b.floats(n * vocab)),
        out: b.zeros(pairs),
        margins: b.zeros(pairs),
        wins: b.zeros(pairs),
        pairs,
        seq: ROWS,
        vocab,
        beta: 0.3,
    };
    b.push(op);
    cases.push(b.finish(format!("{pairs} pairs x {vocab}")));
    cases
}

/// Both operations on how the rows of sequences relate to each other.
fn relations(dim: usize) -> Case {
    let shape = RelationShape {
        batch: 2,
        seq: ROWS + 3,
        heads: 2,
        dim: dim.min(66),
        teacher_dim: dim.min(66) + 1,
    };
    let rows = shape.batch * shape.seq;
    let mut b = Builder::new(rows);
    b.tolerance = GRADIENTS;
    let x = b.floats(rows * shape.heads * shape.dim);
    let scores = b.zeros(shape.batch * shape.heads * shape.seq * shape.seq);
    let op = Op::RelationDivergence {
        x,
        teacher: b.floats(rows * shape.heads * shape.teacher_dim),
        targets: b.ids(rows, 7),
        scores,
        losses: b.zeros(rows),
        shape,
        weight: 0.7,
    };
    b.push(op);
    let op = Op::RelationBackward {
        x,
        scores,
        dx: b.floats(rows * shape.heads * shape.dim),
        shape,
    };
    b.push(op);
    b.finish(format!(
        "{} sequences of {}, heads of {dim}",
        shape.batch, shape.seq
    ))
}

fn steps(dim: usize) -> Vec<Case> {
    let len = 90 * dim;
    let mut cases = Vec::new();
    let mut b = Builder::new(1);
    b.tolerance = GRADIENTS;
    let op = Op::SquaredNorm {
        grad: b.floats(len),
        out: b.floats(3),
        slot: 1,
        len,
    };
    b.push(op);
    cases.push(b.finish(format!("{len}")));

    let mut b = Builder::new(dim);
    let op = Op::SumRows {
        x: b.positive(dim),
        out: b.floats(1),
        rows: dim,
    };
    b.push(op);
    cases.push(b.finish(format!("{dim}")));

    let mut b = Builder::new(1);
    let op = Op::RecordStep {
        loss: b.floats(1),
        norms: b.positive(dim),
        norm_count: dim,
        history: b.zeros_of(Elem::F32, 4 * STEP_FIGURES),
        capacity: 4,
    };
    b.push(op);
    cases.push(b.finish(format!("{dim} norms")));

    let mut b = Builder::new(1);
    (b.run_params.lr, b.run_params.weight_decay) = (0.01, 0.1);
    (b.run_params.bias1, b.run_params.bias2) = (5.0, 10.0);
    let op = Op::AdamW {
        param: b.floats(len),
        grad: b.floats(len),
        m: b.floats(len),
        v: b.positive(len),
        norms: b.positive(3),
        norm_count: 3,
        len,
        clip_norm: 1.0,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        decay: true,
        latent_clip: 1.2,
    };
    b.push(op);
    cases.push(b.finish(format!("{len}")));

    let mut b = Builder::new(1);
    b.run_params.momentum = 0.9;
    let op = Op::Momentum {
        grad: b.floats(len),
        m: b.floats(len),
        out: b.zeros(len),
        norms: b.positive(3),
        norm_count: 3,
        len,
        clip_norm: 1.0,
    };
    b.push(op);
    cases.push(b.finish(format!("{len}")));

    let mut b = Builder::new(1);
    let op = Op::Normalize {
        x: b.floats(len),
        squares: b.positive(2),
        slot: 1,
        len,
    };
    b.push(op);
    cases.push(b.finish(format!("{len}")));

    let mut b = Builder::new(1);
    (b.run_params.lr, b.run_params.weight_decay) = (0.01, 0.1);
    let op = Op::TakeStep {
        param: b.floats(len),
        step: b.floats(len),
        norms: b.positive(3),
        norm_count: 3,
        len,
        rate: 2.0,
        scale: 3.0,
        latent_clip: 1.2,
    };
    b.push(op);
    cases.push(b.finish(format!("{len}")));
    cases
}
