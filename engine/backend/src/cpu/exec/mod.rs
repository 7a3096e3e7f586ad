//! One operation: find its buffers, call its kernel.

mod buffers;
#[cfg(feature = "training")]
mod train;

pub use buffers::Buffers;

use super::linear::Int8Rows;
use super::simd::Level;
use super::{attention, forward, linear, sample};
use crate::training::training;

use ternary_core::config::CachePrecision;
use ternary_core::quant::tile::act_stride;
use ternary_model::program::{EmbedTable, LinearInput, Op, RunParams};

pub fn run(op: &Op, b: &mut Buffers, run_params: &RunParams, level: Level) {
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
            rows,
            seq,
            dim,
        } => {
            let n = valid(*rows);
            b.with([*x], |b, [x]| {
                for (r, x) in x.chunks_exact_mut(*dim).take(n).enumerate() {
                    let line = &b.f32(*table)[(pos + r % seq) * dim..][..*dim];
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
                let position = |r: usize| pos + r % seq;
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
        } => {
            let heads = valid(*rows).min(max_seq.saturating_sub(pos)) * kv_heads;
            let (n, at) = (heads * head_dim, pos * kv_heads * head_dim);
            for (from, to) in [(*k, *cache_k), (*v, *cache_v)] {
                match precision {
                    CachePrecision::F32 => b.with([to], |b, [cache]| {
                        cache[at..][..n].copy_from_slice(&b.f32(from)[..n]);
                    }),
                    CachePrecision::F16 => {
                        let mut memory = b.take(to);
                        let cache: &mut [u16] = &mut memory.view_mut(at + n)[at..];
                        forward::to_halves(&b.f32(from)[..n], cache);
                        b.put(to, memory);
                    }
                    CachePrecision::Q8 => {
                        let pitch = precision.head_bytes(*head_dim);
                        let (at, len) = (pos * kv_heads * pitch, heads * pitch);
                        let mut memory = b.take(to);
                        let cache: &mut [i8] = &mut memory.view_mut(at + len)[at..];
                        forward::to_scaled_codes(&b.f32(from)[..n], *head_dim, cache);
                        b.put(to, memory);
                    }
                }
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
            ..
        } => {
            let n = valid(*rows) * heads * head_dim;
            b.with([*out], |b, [out]| {
                let shape = attention::Shape {
                    heads: *heads,
                    kv_heads: *kv_heads,
                    head_dim: *head_dim,
                };
                let (q, out) = (b.f32(*q), &mut out[..n]);
                match precision {
                    CachePrecision::F32 => {
                        let cache = attention::Cache {
                            keys: b.f32(*cache_k),
                            values: b.f32(*cache_v),
                        };
                        attention::cached(level, q, cache, out, shape, pos, *scores);
                    }
                    CachePrecision::F16 => {
                        let cache = attention::Cache::<u16> {
                            keys: b.view(*cache_k),
                            values: b.view(*cache_v),
                        };
                        attention::cached(level, q, cache, out, shape, pos, *scores);
                    }
                    CachePrecision::Q8 => {
                        let cache = attention::Cache::<i8> {
                            keys: b.view(*cache_k),
                            values: b.view(*cache_v),
                        };
                        attention::cached(level, q, cache, out, shape, pos, *scores);
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
        training!() => {
            // A program with such an operation is not prepared where they are left out.
            #[cfg(feature = "training")]
            train::run(op, b, run_params);
        }
    }
}
