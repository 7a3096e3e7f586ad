//! Operations of inference, and what the GPU fuses of them.

use super::case::{Builder, Case};
use ternary_core::config::{Activation, CachePrecision, QuantMode};
use ternary_core::quant::tile::act_stride;
use ternary_model::program::{BufferId, Elem, EmbedTable, LinearInput, Op, RunParams, Scores};

/// Rows of activations: one, a few, and more than are multiplied as vectors.
const ROWS: [usize; 3] = [1, 5, 65];
const VOCAB: usize = 301;
/// exp and tanh of WGSL: 3 + 2·|x| ulp and 1e-5 relative.
const TRANSCENDENTAL: f64 = 1e-4;
/// A value that rounds to the neighboring code changes a product by a weight times a scale.
const ONE_CODE: f64 = 2e-2;

/// At the ragged width `dim`.
pub(super) fn cases(dim: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for rows in ROWS {
        cases.extend(products(rows, dim));
    }
    for rows in [1, 5] {
        cases.extend(prepared_products(rows, dim));
    }
    cases.extend(stream(5, dim));
    cases.extend(attention(5, dim));
    cases.extend(sampling(dim));
    cases
}

fn products(rows: usize, dim: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for mode in QuantMode::ALL {
        // Several scales a row take whole blocks; 8-bit rows have one.
        let wide = dim.next_multiple_of(256);
        for (in_dim, group) in [(dim, dim), (wide, 128)] {
            if group < in_dim && !mode.is_latent() {
                continue;
            }
            for int8 in [false, true] {
                if int8 && !mode.is_quantized() {
                    continue;
                }
                // With the residual behind it, as most are.
                let add = int8 && group == in_dim;
                let mut b = Builder::new(rows);
                let out_dim = dim + 2;
                let weight = b.weight(mode, out_dim, in_dim, group);
                let input = match int8 {
                    true => LinearInput::Int8 {
                        codes: b.codes(rows, in_dim),
                        scales: b.positive(rows),
                    },
                    false => LinearInput::Float(b.floats(rows * in_dim)),
                };
                let len = rows * out_dim;
                let out = if add { b.scratch(len) } else { b.zeros(len) };
                b.push(Op::Linear {
                    input,
                    weight,
                    out,
                    rows,
                });
                if add {
                    let x = b.floats(len);
                    b.push(Op::Residual {
                        x,
                        branch: out,
                        out: x,
                        scale: 0.5,
                        rows,
                        dim: out_dim,
                    });
                }
                let input = if int8 { "int8" } else { "float" };
                cases.push(b.finish(format!(
                    "{rows} x {out_dim} x {in_dim} {input} {mode}, groups of {group}"
                )));
            }
        }
    }
    cases
}

/// Products whose input is normalized or quantized right before, as a decoder's are.
fn prepared_products(rows: usize, dim: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for mode in QuantMode::ALL {
        for (int8, normed) in [(true, true), (true, false), (false, true)] {
            if int8 && !mode.is_quantized() {
                continue;
            }
            let mut b = Builder::new(rows);
            let x = match normed {
                true => b.floats(rows * dim),
                false => b.whole(rows, dim),
            };
            let norm = normed.then(|| (b.floats(dim), 1e-5));
            let input = match norm {
                Some((weight, eps)) if !int8 => {
                    let out = b.scratch(rows * dim);
                    b.push(Op::RmsNorm {
                        x,
                        weight,
                        out,
                        rstd: None,
                        rows,
                        groups: 1,
                        dim,
                        eps,
                    });
                    LinearInput::Float(out)
                }
                _ => {
                    if normed {
                        b.tolerance = ONE_CODE;
                    }
                    let codes = b.scratch_of(Elem::I8, rows * act_stride(dim));
                    let scales = b.scratch(rows);
                    b.push(Op::QuantAct {
                        x,
                        norm,
                        codes,
                        scales,
                        rows,
                        dim,
                    });
                    LinearInput::Int8 { codes, scales }
                }
            };
            let op = Op::Linear {
                input,
                weight: b.weight(mode, dim + 2, dim, dim),
                out: b.zeros(rows * (dim + 2)),
                rows,
            };
            b.push(op);
            let input = if int8 { "int8" } else { "float" };
            let normed = if normed { "normalized" } else { "plain" };
            cases.push(b.finish(format!("{rows} {normed} x {dim} {input} {mode}")));
        }
    }
    cases
}

/// What happens to the residual stream, row by row.
fn stream(rows: usize, dim: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    let shape = format!("{rows} x {dim}");
    let mut add = |b: Builder, what: &str| cases.push(b.finish(format!("{shape}{what}")));

    for mode in QuantMode::ALL {
        let mut b = Builder::new(rows);
        let op = Op::Embed {
            ids: b.ids(rows, VOCAB),
            table: EmbedTable::Weight(b.weight(mode, VOCAB, dim, dim)),
            out: b.zeros(rows * dim),
            scale: 1.5,
            rows,
            dim,
        };
        b.push(op);
        add(b, &format!(" {mode}"));
    }
    let mut b = Builder::new(rows);
    let op = Op::Embed {
        ids: b.ids(rows, VOCAB),
        table: EmbedTable::Float(b.floats(VOCAB * dim)),
        out: b.zeros(rows * dim),
        scale: 1.0,
        rows,
        dim,
    };
    b.push(op);
    add(b, " floats");

    let mut b = Builder::new(rows);
    let op = Op::AddPosition {
        places: None,
        x: b.floats(rows * dim),
        table: b.floats((rows + 4) * dim),
        rows,
        seq: rows,
        dim,
    };
    b.push(op);
    add(b, "");

    let mut b = Builder::new(rows);
    let op = Op::RmsNorm {
        x: b.floats(rows * 2 * dim),
        weight: b.floats(dim),
        out: b.zeros(rows * 2 * dim),
        rstd: Some(b.zeros(rows * 2)),
        rows,
        groups: 2,
        dim,
        eps: 1e-6,
    };
    b.push(op);
    add(b, "");

    let mut b = Builder::new(rows);
    let op = Op::Center {
        x: b.floats(rows * dim),
        out: b.floats(rows * dim),
        rows,
        dim,
        accumulate: true,
    };
    b.push(op);
    add(b, "");

    let mut b = Builder::new(rows);
    let op = Op::AddBias {
        x: b.floats(rows * dim),
        bias: b.floats(dim),
        rows,
        dim,
    };
    b.push(op);
    add(b, "");

    let mut b = Builder::new(rows);
    b.tolerance = TRANSCENDENTAL;
    let op = Op::Softcap {
        x: b.floats(rows * dim),
        out: b.zeros(rows * dim),
        cap: 1.5,
        rows,
        dim,
    };
    b.push(op);
    add(b, "");

    for norm in [false, true] {
        let mut b = Builder::new(rows);
        b.rounds();
        let x = b.floats(rows * dim);
        let norm = norm.then(|| (b.floats(dim), 1e-5));
        quantize(&mut b, x, norm, rows, dim);
        add(b, if norm.is_some() { " normalized" } else { "" });
    }

    for activation in Activation::ALL.iter().copied() {
        for gated in [false, true] {
            for quantized in [false, true] {
                let mut b = Builder::new(rows);
                b.tolerance = TRANSCENDENTAL;
                let len = rows * dim;
                let gate = b.floats(len);
                let up = gated.then(|| b.floats(len));
                let out = if quantized {
                    b.scratch(len)
                } else {
                    b.zeros(len)
                };
                b.push(Op::Activate {
                    gate,
                    up,
                    out,
                    activation,
                    rows,
                    dim,
                });
                if quantized {
                    b.rounds();
                    quantize(&mut b, out, None, rows, dim);
                }
                add(b, &format!(" {}", activation.name()));
            }
        }
    }

    let mut b = Builder::new(rows);
    let op = Op::Residual {
        x: b.floats(rows * dim),
        branch: b.floats(rows * dim),
        out: b.zeros(rows * dim),
        scale: 0.7,
        rows,
        dim,
    };
    b.push(op);
    add(b, "");

    let mut b = Builder::new(rows - 1);
    let op = Op::LastRow {
        x: b.floats(rows * dim),
        out: b.zeros(dim),
        rows,
        dim,
    };
    b.push(op);
    add(b, "");
    cases
}

fn quantize(b: &mut Builder, x: BufferId, norm: Option<(BufferId, f32)>, rows: usize, dim: usize) {
    let op = Op::QuantAct {
        x,
        norm,
        codes: b.zeros_of(Elem::I8, rows * act_stride(dim)),
        scales: b.zeros(rows),
        rows,
        dim,
    };
    b.push(op);
}

/// Heads, their cache, and attention over it: one head at a time, several, in stretches.
fn attention(rows: usize, dim: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    let (heads, kv_heads) = (4, 2);
    // So that halves and codes come in words.
    let head_dim = dim.min(96).next_multiple_of(4);
    let max_seq = 300;
    for precision in CachePrecision::ALL {
        let shape = format!("{rows} x {heads} heads of {head_dim}, {precision:?} cache");
        for (norm, rope) in [(true, true), (false, true), (true, false), (false, false)] {
            let mut b = Builder::new(rows);
            let table = b.floats((rows + 2) * head_dim);
            let (mut q, mut k) = (
                b.floats(rows * heads * head_dim),
                b.floats(rows * kv_heads * head_dim),
            );
            if norm {
                for (x, groups) in [(&mut q, heads), (&mut k, kv_heads)] {
                    let out = match groups == heads {
                        true => b.zeros(rows * groups * head_dim),
                        false => b.scratch(rows * groups * head_dim),
                    };
                    let op = Op::RmsNorm {
                        x: *x,
                        weight: b.floats(head_dim),
                        out,
                        rstd: None,
                        rows,
                        groups,
                        dim: head_dim,
                        eps: 1e-6,
                    };
                    b.push(op);
                    *x = out;
                }
            }
            for (x, heads) in [(q, heads), (k, kv_heads)] {
                if rope {
                    b.push(Op::Rope {
                        places: None,
                        x,
                        table,
                        rows,
                        seq: rows,
                        heads,
                        head_dim,
                        rotary: head_dim,
                        inverse: false,
                    });
                }
            }
            if precision == CachePrecision::Q8 {
                b.rounds();
            }
            let op = Op::KvWrite {
                places: None,
                k,
                v: b.floats(rows * kv_heads * head_dim),
                cache_k: b.cache(precision, max_seq * kv_heads, head_dim, true),
                cache_v: b.cache(precision, max_seq * kv_heads, head_dim, true),
                rows,
                kv_heads,
                head_dim,
                max_seq,
                precision,
            };
            b.push(op);
            cases.push(b.finish(shape.clone()));
        }
        for (pos, softcap, window) in [
            (0, None, None),
            (270, None, None),
            (130, Some(2.0), Some(100)),
        ] {
            for rows in [1, rows] {
                let mut b = Builder::new(rows);
                b.tolerance = TRANSCENDENTAL;
                b.run_params.pos = pos;
                let op = Op::CachedAttention {
                    places: None,
                    q: b.floats(rows * heads * head_dim),
                    cache_k: b.cache(precision, max_seq * kv_heads, head_dim, false),
                    cache_v: b.cache(precision, max_seq * kv_heads, head_dim, false),
                    out: b.zeros(rows * heads * head_dim),
                    rows,
                    heads,
                    kv_heads,
                    head_dim,
                    max_seq,
                    precision,
                    scores: Scores {
                        softcap,
                        window,
                        ..Scores::plain(head_dim)
                    },
                };
                b.push(op);
                cases.push(b.finish(format!("{shape}, {rows} rows at {pos}")));
            }
        }
    }
    // A part of a head is turned alone.
    let mut b = Builder::new(rows);
    let op = Op::Rope {
        places: None,
        x: b.floats(rows * heads * (head_dim + 2)),
        table: b.floats((rows + 2) * head_dim),
        rows,
        seq: rows,
        heads,
        head_dim: head_dim + 2,
        rotary: head_dim,
        inverse: true,
    };
    b.push(op);
    cases.push(b.finish(format!(
        "{rows} x {heads} heads of {}, in part",
        head_dim + 2
    )));
    cases
}

fn sampling(dim: usize) -> Vec<Case> {
    let vocab = 40 * dim + VOCAB;
    let mut b = Builder::new(1);
    b.run_params.recent = 9;
    b.run_params.repetition_penalty = 1.3;
    let op = Op::Penalize {
        logits: b.floats(vocab),
        recent: b.ids_in_order(12),
        capacity: 12,
        vocab,
    };
    b.push(op);
    let penalty = b.finish(format!("{vocab} logits"));

    let k = 40.min(vocab);
    let mut b = Builder::new(1);
    b.unordered = true;
    let op = Op::TopK {
        logits: b.floats(vocab),
        ids: b.zeros_of(Elem::U32, k),
        values: b.zeros(k),
        vocab,
        k,
    };
    b.push(op);
    let mut cases = vec![penalty, b.finish(format!("{k} of {vocab}"))];

    for (temperature, top_k, top_p) in [(0.0, 0, 1.0), (0.8, 0, 1.0), (1.5, 20, 0.9)] {
        let mut b = Builder::new(1);
        b.run_params = RunParams {
            temperature,
            top_k,
            top_p,
            draw: 0.4,
            ..b.run_params
        };
        let op = Op::Choose {
            top_ids: b.ids_in_order(k),
            top_values: b.floats(k),
            k,
            recent: b.ids_in_order(12),
            capacity: 12,
            ids: b.zeros_of(Elem::U32, 1),
            chosen: b.zeros_of(Elem::U32, 1),
        };
        b.push(op);
        cases.push(b.finish(format!("{k} at temperature {temperature}")));
    }
    cases
}
