//! One operation: find its buffers, call its kernel.

mod buffers;
#[cfg(feature = "training")]
mod train;

pub use buffers::Buffers;

use super::attention::Placed;
use super::linear::Int8Rows;
use super::simd::Level;
use super::{attention, forward, linear, sample};
use crate::training::training;

use ternary_core::config::CachePrecision;
use ternary_core::quant::tile::act_stride;
use ternary_core::sampling::Choice;
#[cfg(not(target_arch = "wasm32"))]
use ternary_model::program::{BufferId, Weight};
use ternary_model::program::{EmbedTable, LinearInput, Op, Places, RunParams};

/// Where `rows` rows stand.
fn placed<'a>(b: &'a Buffers, places: &Places, rows: usize) -> Placed<'a> {
    Placed::new(b.u32(places.buffer), rows)
}

/// Runs operations in order.
pub fn run(mut ops: &[Op], b: &mut Buffers, run_params: &RunParams, level: Level) {
    while let [op, rest @ ..] = ops {
        #[cfg(not(target_arch = "wasm32"))]
        let rest = match products_of_row(ops, b, run_params, level) {
            0 => rest,
            done => {
                ops = &ops[done..];
                continue;
            }
        };
        run_one(op, b, run_params, level);
        ops = rest;
    }
}

/// A product of one row of int8 activations.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Copy)]
struct OfRow<'a> {
    codes: BufferId,
    scales: BufferId,
    weight: &'a Weight,
    out: BufferId,
}

#[cfg(not(target_arch = "wasm32"))]
impl<'a> OfRow<'a> {
    fn new(op: &'a Op, run_params: &RunParams) -> Option<Self> {
        match op {
            Op::Linear {
                input: LinearInput::Int8 { codes, scales },
                weight,
                out,
                rows,
            } if (*rows).min(run_params.rows as usize) == 1 => Some(OfRow {
                codes: *codes,
                scales: *scales,
                weight,
                out: *out,
            }),
            _ => None,
        }
    }
}

/// Runs the first operations at once, if they are two or three products of the same row, and says
/// how many: threads share short ones better together.
#[cfg(not(target_arch = "wasm32"))]
fn products_of_row(ops: &[Op], b: &mut Buffers, run_params: &RunParams, level: Level) -> usize {
    let of_row = |i: usize| ops.get(i).and_then(|op| OfRow::new(op, run_params));
    let Some(first) = of_row(0) else {
        return 0;
    };
    let next = |i: usize, before: &[OfRow]| {
        of_row(i).filter(|next| {
            next.codes == first.codes && before.iter().all(|of| !b.same_memory(of.out, next.out))
        })
    };
    let Some(second) = next(1, &[first]) else {
        return 0;
    };
    match next(2, &[first, second]) {
        None => products(b, level, [first, second]),
        Some(third) => products(b, level, [first, second, third]),
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn products<const N: usize>(b: &mut Buffers, level: Level, of: [OfRow; N]) -> usize {
    b.with(of.map(|of| of.out), |b, mut out| {
        let w = of.map(|of| b.weight(of.weight));
        let x = Int8Rows {
            codes: b.view(of[0].codes),
            scales: b.f32(of[0].scales),
        };
        let mut dims = w.iter().map(|w| w.out_dim);
        let out = out.each_mut().map(|out| {
            let dim = dims.next().unwrap_or_default();
            &mut out[..dim]
        });
        linear::int8_each(level, w, x, out);
    });
    N
}

fn run_one(op: &Op, b: &mut Buffers, run_params: &RunParams, level: Level) {
    let valid = |rows: usize| rows.min(run_params.rows as usize);
    let pos = run_params.pos as usize;
    match op {
        Op::Embed {
            ids,
            table,
            out,
            scale,
            rows,
            dim,
        } => {
            let n = valid(*rows);
            b.with([*out], |b, [out]| {
                for (id, out) in b.u32(*ids)[..n].iter().zip(out.chunks_exact_mut(*dim)) {
                    match table {
                        EmbedTable::Float(t) => {
                            out.copy_from_slice(&b.f32(*t)[*id as usize * dim..][..*dim]);
                        }
                        EmbedTable::Weight(w) => {
                            linear::expand_row(&b.weight(w), *id as usize, out);
                        }
                    }
                    if *scale != 1.0 {
                        out.iter_mut().for_each(|v| *v *= scale);
                    }
                }
            });
        }
        Op::AddPosition {
            x,
            table,
            places,
            rows,
            seq,
            dim,
        } => {
            let n = valid(*rows);
            b.with([*x], |b, [x]| {
                let at = places.as_ref().map(|p| placed(b, p, *rows));
                for (r, x) in x.chunks_exact_mut(*dim).take(n).enumerate() {
                    let position = at.as_ref().map_or(pos + r % seq, |at| at.position(r));
                    let line = &b.f32(*table)[position * dim..][..*dim];
                    for (x, p) in x.iter_mut().zip(line) {
                        *x += p;
                    }
                }
            });
        }
        Op::RmsNorm {
            x,
            weight,
            out,
            rstd,
            rows,
            groups,
            dim,
            eps,
        } => {
            let n = valid(*rows);
            let width = groups * dim;
            let norm = |b: &Buffers, out: &mut [f32], rstd: &mut [f32]| {
                let x = &b.f32(*x)[..n * width];
                forward::rms_norm(
                    x,
                    b.f32(*weight),
                    &mut out[..n * width],
                    rstd,
                    *groups,
                    *eps,
                );
            };
            match rstd {
                Some(rstd) => b.with([*out, *rstd], |b, [out, rstd]| {
                    norm(b, out, &mut rstd[..n * groups]);
                }),
                None => b.with([*out], |b, [out]| norm(b, out, &mut [])),
            }
        }
        Op::Center {
            x,
            out,
            rows,
            dim,
            accumulate,
        } => {
            let n = valid(*rows) * dim;
            b.with([*out], |b, [out]| {
                forward::center(&b.f32(*x)[..n], &mut out[..n], *dim, *accumulate);
            });
        }
        Op::AddBias { x, bias, rows, dim } => {
            let n = valid(*rows) * dim;
            b.with([*x], |b, [x]| {
                forward::add_bias(&mut x[..n], &b.f32(*bias)[..*dim]);
            });
        }
        Op::Softcap {
            x,
            out,
            cap,
            rows,
            dim,
        } => {
            let n = valid(*rows) * dim;
            let in_place = x == out;
            b.with([*out], |b, [out]| {
                if !in_place {
                    out[..n].copy_from_slice(&b.f32(*x)[..n]);
                }
                forward::softcap_all(&mut out[..n], *cap);
            });
        }
        Op::QuantAct {
            x,
            norm,
            codes,
            scales,
            rows,
            dim,
        } => {
            let n = valid(*rows);
            let stride = act_stride(*dim);
            let mut memory = b.take(*codes);
            b.with([*scales], |b, [scales]| {
                forward::quant_act(
                    &b.f32(*x)[..n * dim],
                    norm.map(|(w, eps)| (b.f32(w), eps)),
                    memory.view_mut(n * stride),
                    &mut scales[..n],
                    *dim,
                );
            });
            b.put(*codes, memory);
        }
        Op::Linear {
            input,
            weight,
            out,
            rows,
        } => {
            let n = valid(*rows);
            b.with([*out], |b, [out]| {
                let w = b.weight(weight);
                let out = &mut out[..n * w.out_dim];
                match input {
                    LinearInput::Float(x) => linear::float(level, &w, b.f32(*x), out, n),
                    LinearInput::Int8 { codes, scales } => {
                        let x = Int8Rows {
                            codes: b.view(*codes),
                            scales: b.f32(*scales),
                        };
                        linear::int8(level, &w, x, out, n);
                    }
                }
            });
        }
        Op::Rope {
            x,
            table,
            places,
            rows,
            seq,
            heads,
            head_dim,
            rotary,
            inverse,
        } => {
            let n = valid(*rows);
            let width = heads * head_dim;
            b.with([*x], |b, [x]| {
                let at = places.as_ref().map(|p| placed(b, p, *rows));
                let position = |r: usize| at.as_ref().map_or(pos + r % seq, |at| at.position(r));
                forward::rope(
                    &mut x[..n * width],
                    b.f32(*table),
                    width,
                    *head_dim,
                    *rotary,
                    *inverse,
                    position,
                );
            });
        }
        Op::KvWrite {
            k,
            v,
            cache_k,
            cache_v,
            rows,
            kv_heads,
            head_dim,
            max_seq,
            precision,
            places,
        } => {
            // Runs of rows that lie side by side in the caches: the first one, how many, where.
            let runs: Vec<[usize; 3]> = match places {
                None => {
                    let n = valid(*rows).min(max_seq.saturating_sub(pos));
                    vec![[0, n, pos]]
                }
                Some(places) => {
                    let at = placed(b, places, *rows);
                    let to = |r| at.table(r).row(at.position(r));
                    (0..valid(*rows)).map(|r| [r, 1, to(r)]).collect()
                }
            };
            let (dim, heads) = (*head_dim, *kv_heads);
            for (from, to) in [(*k, *cache_k), (*v, *cache_v)] {
                let pitch = heads * precision.head_bytes(dim);
                let elem = b.decls[to.index()].elem.bytes();
                let mut memory = b.take(to);
                for [first, n, at] in &runs {
                    let x = &b.f32(from)[first * heads * dim..][..n * heads * dim];
                    let (at, len) = (at * pitch / elem, n * pitch / elem);
                    match precision {
                        CachePrecision::F32 => {
                            memory.view_mut::<f32>(at + len)[at..].copy_from_slice(x);
                        }
                        CachePrecision::F16 => {
                            forward::to_halves(x, &mut memory.view_mut::<u16>(at + len)[at..]);
                        }
                        CachePrecision::Q8 => {
                            let cache = &mut memory.view_mut::<i8>(at + len)[at..];
                            forward::to_scaled_codes(x, dim, cache);
                        }
                    }
                }
                b.put(to, memory);
            }
        }
        Op::CachedAttention {
            q,
            cache_k,
            cache_v,
            out,
            rows,
            heads,
            kv_heads,
            head_dim,
            precision,
            scores,
            places,
            ..
        } => {
            let n = valid(*rows) * heads * head_dim;
            b.with([*out], |b, [out]| {
                let shape = attention::Shape {
                    heads: *heads,
                    kv_heads: *kv_heads,
                    head_dim: *head_dim,
                };
                let at = match places {
                    None => attention::Rows::From(pos),
                    Some(places) => attention::Rows::Placed(placed(b, places, *rows)),
                };
                let (q, out) = (b.f32(*q), &mut out[..n]);
                match precision {
                    CachePrecision::F32 => {
                        let cache = attention::Cache {
                            keys: b.f32(*cache_k),
                            values: b.f32(*cache_v),
                        };
                        attention::cached(level, q, cache, out, shape, at, *scores);
                    }
                    CachePrecision::F16 => {
                        let cache = attention::Cache::<u16> {
                            keys: b.view(*cache_k),
                            values: b.view(*cache_v),
                        };
                        attention::cached(level, q, cache, out, shape, at, *scores);
                    }
                    CachePrecision::Q8 => {
                        let cache = attention::Cache::<i8> {
                            keys: b.view(*cache_k),
                            values: b.view(*cache_v),
                        };
                        attention::cached(level, q, cache, out, shape, at, *scores);
                    }
                }
            });
        }
        Op::Activate {
            gate,
            up,
            out,
            activation,
            rows,
            dim,
        } => {
            let n = valid(*rows) * dim;
            b.with([*out], |b, [out]| {
                let up = up.map(|u| &b.f32(u)[..n]);
                forward::activate(*activation, &b.f32(*gate)[..n], up, &mut out[..n]);
            });
        }
        Op::Residual {
            x,
            branch,
            out,
            scale,
            rows,
            dim,
        } => {
            let n = valid(*rows) * dim;
            let in_place = x == out;
            b.with([*out], |b, [out]| {
                let (branch, out) = (&b.f32(*branch)[..n], &mut out[..n]);
                if in_place {
                    forward::axpy(branch, *scale, out);
                } else {
                    forward::scaled_sum(&b.f32(*x)[..n], branch, *scale, out);
                }
            });
        }
        Op::PickRows {
            x,
            picks,
            out,
            rows,
            dim,
        } => {
            let n = valid(*rows);
            b.with([*out], |b, [out]| {
                let picks = &b.u32(*picks)[..n];
                for (pick, out) in picks.iter().zip(out.chunks_exact_mut(*dim)) {
                    out.copy_from_slice(&b.f32(*x)[*pick as usize * dim..][..*dim]);
                }
            });
        }
        Op::LastRow { x, out, rows, dim } => {
            let last = valid(*rows).saturating_sub(1);
            b.with([*out], |b, [out]| {
                out.copy_from_slice(&b.f32(*x)[last * dim..][..*dim]);
            });
        }
        Op::Penalize {
            logits,
            recent,
            capacity,
            ..
        } => {
            let n = (*capacity).min(run_params.recent as usize);
            b.with([*logits], |b, [logits]| {
                sample::penalize(logits, &b.u32(*recent)[..n], run_params.repetition_penalty);
            });
        }
        Op::TopK {
            logits,
            ids,
            values,
            k,
            ..
        } => {
            let mut memory = b.take(*ids);
            b.with([*values], |b, [values]| {
                sample::top_k(b.f32(*logits), memory.view_mut(*k), values);
            });
            b.put(*ids, memory);
        }
        Op::Choose {
            top_ids,
            top_values,
            recent,
            capacity,
            ids,
            chosen,
            ..
        } => {
            let candidates = b.u32(*top_ids).iter().zip(b.f32(*top_values));
            let choice = Choice {
                temperature: run_params.temperature,
                top_k: run_params.top_k as usize,
                top_p: run_params.top_p,
                draw: f64::from(run_params.draw),
            };
            let id = choice.among(candidates.map(|(id, logit)| (*id, *logit)).collect());
            let slot = (pos + 1) % capacity;
            for (to, at, id) in [
                (*recent, slot, id.unwrap_or_default()),
                (*ids, 0, id.unwrap_or_default()),
                (*chosen, 0, id.unwrap_or(u32::MAX)),
            ] {
                let mut memory = b.take(to);
                memory.view_mut::<u32>(at + 1)[at] = id;
                b.put(to, memory);
            }
        }
        training!() => {
            // A program with such an operation is not prepared where they are left out.
            #[cfg(feature = "training")]
            train::run(op, b, run_params);
        }
    }
}
