//! Operations on token rows: norms, quantization, positions, attention, activations.

use super::compare::{ROUNDINGS, SUMS, TRANSCENDENTAL, assert_close};
use super::*;
use ternary_core::config::{Activation, CachePrecision};
use ternary_core::math;
use ternary_model::program::{PAGE, Places, Scores};

/// Zeros, and values large enough to show an overflow.
pub fn with_extremes(mut values: Vec<f32>, dim: usize) -> Vec<f32> {
    values[..dim].fill(0.0);
    if values.len() > dim {
        values[dim..2 * dim].fill(-1e15);
    }
    values
}

pub fn norm_of(x: &[f32], weight: &[f32], eps: f64) -> (Vec<f64>, f64) {
    let mean = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / x.len() as f64;
    let rstd = 1.0 / (mean + eps).sqrt();
    let y = x
        .iter()
        .zip(weight)
        .map(|(x, w)| f64::from(*x) * rstd * f64::from(*w))
        .collect();
    (y, rstd)
}

#[test]
fn rms_norm_follows_f64() {
    with_gpu(|gpu| {
        for dim in RAGGED {
            for (rows_n, groups, in_place) in [(1, 1, false), (3, 2, true), (65, 1, false)] {
                let mut noise = Noise(dim as u64);
                let x = with_extremes(noise.floats(rows_n * groups * dim, 3.0), dim);
                let weight = noise.floats(dim, 1.0);
                let mut case = Case::default();
                let input = case.f32(&x);
                let out = if in_place { input } else { case.out(x.len()) };
                let rstd = case.out(rows_n * groups);
                let op = Op::RmsNorm {
                    x: input,
                    weight: case.f32(&weight),
                    out,
                    rstd: (!in_place).then_some(rstd),
                    rows: rows_n,
                    groups,
                    dim,
                    eps: 1e-6,
                };
                let read = case.try_run(gpu, op, &rows(rows_n), &[out, rstd]).unwrap();
                let got: Vec<f32> = elements(&read[0]);
                let got_rstd: Vec<f32> = elements(&read[1]);
                for (g, x) in x.chunks(dim).enumerate() {
                    let (want, want_rstd) = norm_of(x, &weight, 1e-6);
                    assert_close("norm", &got[g * dim..][..dim], &want, SUMS);
                    if !in_place {
                        assert_close("rstd", &got_rstd[g..=g], &[want_rstd], SUMS);
                    }
                }
            }
        }
    });
}

#[test]
fn quantized_activations_follow_f64() {
    with_gpu(|gpu| {
        for dim in RAGGED {
            for norm in [false, true] {
                let rows_n = 5;
                let mut noise = Noise(dim as u64 + 9);
                let x = with_extremes(noise.floats(rows_n * dim, 4.0), dim);
                let weight = noise.floats(dim, 1.0);
                let stride = act_stride(dim);
                let mut case = Case::default();
                let codes = case.bytes(Elem::I8, vec![99; rows_n * stride]);
                let scales = case.out(rows_n);
                let op = Op::QuantAct {
                    x: case.f32(&x),
                    norm: norm.then(|| (case.f32(&weight), 1e-5)),
                    codes,
                    scales,
                    rows: rows_n,
                    dim,
                };
                let read = case
                    .try_run(gpu, op, &rows(rows_n), &[codes, scales])
                    .unwrap();
                let got_scales: Vec<f32> = elements(&read[1]);
                for (r, x) in x.chunks(dim).enumerate() {
                    let y = if norm {
                        norm_of(x, &weight, f64::from(1e-5f32)).0
                    } else {
                        f64s(x)
                    };
                    let largest = y.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                    let scale = largest.max(f64::from(1e-5f32)) / 127.0;
                    assert_close("scale", &got_scales[r..=r], &[scale], SUMS);
                    for c in 0..stride {
                        let code = f64::from(read[0][r * stride + c] as i8);
                        let exact = y.get(c).map_or(0.0, |v| v / scale);
                        // The nearest integer, but for ties that f32 rounding decides the other
                        // way.
                        assert!(
                            (code - exact).abs() <= 0.5 + 127.0 * SUMS,
                            "({r}, {c}): {code} for {exact}"
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn codes_round_half_to_even() {
    with_gpu(|gpu| {
        // Scale 1: 127 is the largest.
        let x = [127.0f32, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.49];
        let mut case = Case::default();
        let codes = case.bytes(Elem::I8, vec![0; act_stride(x.len())]);
        let scales = case.out(1);
        let op = Op::QuantAct {
            x: case.f32(&x),
            norm: None,
            codes,
            scales,
            rows: 1,
            dim: x.len(),
        };
        let read = case.try_run(gpu, op, &rows(1), &[codes]).unwrap();
        let got: Vec<i8> = elements(&read[0][..8]);
        assert_eq!(got, [127, 0, 2, 2, 0, -2, -2, 3]);
    });
}

#[test]
fn positions_are_added_from_the_table() {
    with_gpu(|gpu| {
        for dim in RAGGED {
            let (rows_n, seq, pos) = (6, 4, 2);
            let mut noise = Noise(3);
            let x = noise.floats(rows_n * dim, 1.0);
            let table = noise.floats(8 * dim, 1.0);
            let mut case = Case::default();
            let id = case.f32(&x);
            let op = Op::AddPosition {
                places: None,
                x: id,
                table: case.f32(&table),
                rows: rows_n,
                seq,
                dim,
            };
            let want: Vec<f32> = (0..x.len())
                .map(|i| {
                    let r = i / dim;
                    if r < 5 {
                        x[i] + table[(pos + r % seq) * dim + i % dim]
                    } else {
                        x[i]
                    }
                })
                .collect();
            assert_eq!(case.run(gpu, op, &at(pos, 5), id), want);
        }
    });
}

#[test]
fn rope_turns_pairs_and_back() {
    with_gpu(|gpu| {
        for (rows_n, heads, head_dim, rotary) in
            [(1, 1, 2, 2), (3, 5, 6, 6), (9, 2, 64, 64), (3, 2, 7, 4)]
        {
            for inverse in [false, true] {
                let (seq, pos) = (4, 3);
                let half = rotary / 2;
                let x = Noise(8).floats(rows_n * heads * head_dim, 1.0);
                let table: Vec<f32> = (0..8 * rotary)
                    .map(|i| {
                        let angle = (i / rotary) as f32 * 0.3 + (i % half) as f32;
                        if i % rotary < half {
                            angle.cos()
                        } else {
                            angle.sin()
                        }
                    })
                    .collect();
                let mut case = Case::default();
                let id = case.f32(&x);
                let op = Op::Rope {
                    places: None,
                    x: id,
                    table: case.f32(&table),
                    rows: rows_n,
                    seq,
                    heads,
                    head_dim,
                    rotary,
                    inverse,
                };
                let want: Vec<f64> = (0..x.len())
                    .map(|i| {
                        let line =
                            &table[(pos + i / (heads * head_dim) % seq) * rotary..][..rotary];
                        let j = i % head_dim;
                        if j >= rotary {
                            return f64::from(x[i]);
                        }
                        let j_half = j % half;
                        let (cos, sin) = (f64::from(line[j_half]), f64::from(line[j_half + half]));
                        let sin = if inverse == (j < half) { sin } else { -sin };
                        let pair = if j < half { i + half } else { i - half };
                        f64::from(x[i]) * cos + f64::from(x[pair]) * sin
                    })
                    .collect();
                assert_close(
                    "rope",
                    &case.run(gpu, op, &at(pos, rows_n), id),
                    &want,
                    ROUNDINGS,
                );
            }
        }
    });
}

#[test]
fn keys_and_values_are_appended_and_never_past_the_end() {
    with_gpu(|gpu| {
        for kv_dim in RAGGED {
            let (rows_n, max_seq, pos) = (4, 6, 3);
            let mut noise = Noise(4);
            let (k, v) = (
                noise.floats(rows_n * kv_dim, 1.0),
                noise.floats(rows_n * kv_dim, 1.0),
            );
            let old = noise.floats(max_seq * kv_dim, 1.0);
            let mut case = Case::default();
            let (cache_k, cache_v) = (case.f32(&old), case.f32(&old));
            let op = Op::KvWrite {
                places: None,
                k: case.f32(&k),
                v: case.f32(&v),
                cache_k,
                cache_v,
                rows: rows_n,
                kv_heads: 1,
                head_dim: kv_dim,
                max_seq,
                precision: CachePrecision::F32,
            };
            let read = case
                .try_run(gpu, op, &at(pos, rows_n), &[cache_k, cache_v])
                .unwrap();
            for (new, got) in [(k, &read[0]), (v, &read[1])] {
                let mut want = old[..pos * kv_dim].to_vec();
                want.extend(&new[..3 * kv_dim]);
                assert_eq!(elements::<f32>(got), want);
            }
        }
    });
}

/// Run `test` on the device in every form of attention that it has.
fn in_each_attention(test: impl Fn(&mut GpuBackend)) {
    with_gpu(|gpu| {
        let forms = gpu.adapter().forms;
        for form in forms.iter().filter(|form| form.starts_with("attention")) {
            gpu.force_forms(form).unwrap();
            test(gpu);
        }
        gpu.force_forms("").unwrap();
    });
}

#[test]
fn attention_follows_f64() {
    in_each_attention(|gpu| {
        // The last two need several blocks of keys; the very last also several splits.
        let plain = [
            (1, 1, 1, 1, 0, 1),
            (3, 4, 2, 6, 5, 9),
            (1, 3, 1, 65, 64, 70),
            (2, 2, 2, 257, 3, 8),
            (128, 2, 1, 8, 200, 340),
            (3, 4, 1, 64, 700, 1500),
        ]
        .map(|shape| (shape, Scores::plain(shape.3)));
        let with = |scale, softcap, window| Scores {
            scale,
            softcap,
            window,
        };
        let others = [
            ((3, 4, 2, 6, 5, 9), with(0.3, None, Some(1))),
            ((3, 4, 2, 6, 5, 9), with(0.3, Some(1.5), Some(4))),
            ((3, 4, 1, 64, 700, 1500), with(0.1, None, Some(300))),
            ((128, 2, 1, 8, 200, 340), with(0.5, Some(2.0), Some(250))),
        ];
        for ((rows_n, heads, kv_heads, head_dim, pos, max_seq), of) in
            plain.into_iter().chain(others)
        {
            let mut noise = Noise(heads as u64);
            let kv_dim = kv_heads * head_dim;
            let q = noise.floats(rows_n * heads * head_dim, 8.0);
            let (k, v) = (
                noise.floats(max_seq * kv_dim, 1.0),
                noise.floats(max_seq * kv_dim, 1.0),
            );
            let mut case = Case::default();
            let out = case.out(q.len());
            let op = Op::CachedAttention {
                places: None,
                q: case.f32(&q),
                cache_k: case.f32(&k),
                cache_v: case.f32(&v),
                out,
                rows: rows_n,
                heads,
                kv_heads,
                head_dim,
                max_seq,
                precision: CachePrecision::F32,
                scores: of,
            };
            let got = case.run(gpu, op, &at(pos, rows_n), out);
            let mut want = Vec::new();
            for (i, q) in q.chunks(head_dim).enumerate() {
                let (r, h) = (i / heads, i % heads);
                let line = |cache: &[f32], j: usize| {
                    f64s(&cache[j * kv_dim + h / (heads / kv_heads) * head_dim..][..head_dim])
                };
                let scores: Vec<f64> = (0..=pos + r)
                    .map(|j| {
                        let dot: f64 = line(&k, j)
                            .iter()
                            .zip(q)
                            .map(|(k, q)| k * f64::from(*q))
                            .sum();
                        let score = dot * f64::from(of.scale);
                        match of.softcap.map(f64::from) {
                            _ if of.window.is_some_and(|w| pos + r - j >= w) => f64::NEG_INFINITY,
                            Some(cap) => cap * (score / cap).tanh(),
                            None => score,
                        }
                    })
                    .collect();
                let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
                let total: f64 = weights.iter().sum();
                let mut sum = vec![0.0; head_dim];
                for (j, w) in weights.iter().enumerate() {
                    for (s, v) in sum.iter_mut().zip(line(&v, j)) {
                        *s += w * v / total;
                    }
                }
                want.extend(sum);
            }
            assert_close(
                &format!("{heads} heads of {head_dim}"),
                &got,
                &want,
                TRANSCENDENTAL,
            );
        }
    });
}

/// Rows of three sequences, whose pages lie about: the same as each sequence for itself.
#[test]
fn placed_rows_are_those_of_their_sequences() {
    let (heads, kv_heads, head_dim) = (4, 2, 8);
    let (pages, table) = (9, 4);
    // Position of the first row and rows of each, and where its pages are.
    let sequences: [(usize, usize, [u32; 4]); 3] = [
        (40, 1, [5, 2, 8, 0]),
        (27, 9, [3, 6, 0, 0]),
        (32, 6, [5, 7, 1, 0]),
    ];
    let rows_n: usize = sequences.iter().map(|s| s.1).sum();
    let width = heads * head_dim;
    let kv_dim = kv_heads * head_dim;
    let test = |device: &mut dyn Backend| {
        for precision in [CachePrecision::F32, CachePrecision::F16, CachePrecision::Q8] {
            for window in [None, Some(12)] {
                let mut noise = Noise(11);
                let q = noise.floats(rows_n * width, 2.0);
                let k = noise.floats(rows_n * kv_dim, 1.0);
                let v = noise.floats(rows_n * kv_dim, 1.0);
                // Two sequences share page 5, where both have the same positions.
                let old: Vec<(Vec<f32>, Vec<f32>)> = (0..pages * PAGE)
                    .map(|_| (noise.floats(kv_dim, 1.0), noise.floats(kv_dim, 1.0)))
                    .collect();
                let scores = Scores {
                    window,
                    ..Scores::plain(head_dim)
                };
                let scaled = |values: &[f32]| -> Vec<u8> {
                    match precision {
                        CachePrecision::F32 => bytemuck::cast_slice(values).to_vec(),
                        CachePrecision::F16 => values
                            .iter()
                            .flat_map(|v| math::to_half(*v).to_le_bytes())
                            .collect(),
                        CachePrecision::Q8 => {
                            let mut out = Vec::new();
                            for head in values.chunks(head_dim) {
                                let scale =
                                    head.iter().fold(1e-5f32, |m, v| m.max(v.abs())) / 127.0;
                                out.extend(head.iter().map(|v| {
                                    let code = (v / scale).round_ties_even();
                                    code as i8 as u8
                                }));
                                out.extend(scale.to_le_bytes());
                            }
                            out
                        }
                    }
                };
                let elem = match precision {
                    CachePrecision::F32 => Elem::F32,
                    CachePrecision::F16 => Elem::F16,
                    CachePrecision::Q8 => Elem::I8,
                };
                let cache = |case: &mut Case, rows: &[&Vec<f32>]| {
                    let bytes = rows.iter().flat_map(|row| scaled(row)).collect();
                    case.bytes(elem, bytes)
                };
                let ops = |case: &mut Case,
                           (q, k, v): (&[f32], &[f32], &[f32]),
                           (cache_k, cache_v): (BufferId, BufferId),
                           places: Option<Places>,
                           max_seq: usize| {
                    let rows = q.len() / width;
                    let out = case.out(q.len());
                    let write = Op::KvWrite {
                        k: case.f32(k),
                        v: case.f32(v),
                        cache_k,
                        cache_v,
                        rows,
                        kv_heads,
                        head_dim,
                        max_seq,
                        precision,
                        places,
                    };
                    let attend = Op::CachedAttention {
                        q: case.f32(q),
                        cache_k,
                        cache_v,
                        out,
                        rows,
                        heads,
                        kv_heads,
                        head_dim,
                        max_seq,
                        precision,
                        scores,
                        places,
                    };
                    case.recorder.push(write);
                    (attend, out)
                };
                // All together.
                let mut case = Case::default();
                let keys: Vec<&Vec<f32>> = old.iter().map(|o| &o.0).collect();
                let values: Vec<&Vec<f32>> = old.iter().map(|o| &o.1).collect();
                let caches = (cache(&mut case, &keys), cache(&mut case, &values));
                let mut places: Vec<u32> = Vec::new();
                for (i, (pos, n, _)) in sequences.iter().enumerate() {
                    let at = (2 * rows_n + i * table) as u32;
                    places.extend((0..*n).flat_map(|r| [(pos + r) as u32, at]));
                }
                places.extend(sequences.iter().flat_map(|s| s.2));
                let buffer = case.u32(&places);
                let placed = Some(Places { buffer, pages });
                let (op, out) = ops(&mut case, (&q, &k, &v), caches, placed, pages * PAGE);
                let together = case.run(device, op, &rows(rows_n), out);
                // Each for itself.
                let mut first = 0;
                for (pos, n, own) in sequences {
                    let mut case = Case::default();
                    let len = pos + n;
                    let row = |t: usize| &old[own[t / PAGE] as usize * PAGE + t % PAGE];
                    let keys: Vec<&Vec<f32>> = (0..len).map(|t| &row(t).0).collect();
                    let values: Vec<&Vec<f32>> = (0..len).map(|t| &row(t).1).collect();
                    let caches = (cache(&mut case, &keys), cache(&mut case, &values));
                    let part =
                        |x: &'_ [f32], width: usize| x[first * width..][..n * width].to_vec();
                    let (q, k, v) = (part(&q, width), part(&k, kv_dim), part(&v, kv_dim));
                    let (op, out) = ops(&mut case, (&q, &k, &v), caches, None, len);
                    let alone = case.run(device, op, &at(pos, n), out);
                    let got = &together[first * width..][..n * width];
                    let want: Vec<f64> = f64s(&alone);
                    assert_close(
                        &format!("{precision:?} from {pos}"),
                        got,
                        &want,
                        TRANSCENDENTAL,
                    );
                    first += n;
                }
            }
        }
    };
    test(&mut CpuBackend::new(2));
    in_each_attention(|gpu| test(gpu));
}

#[test]
fn placed_rows_have_positions_of_their_own() {
    on_both(|device| {
        let (dim, places) = (6, [4u32, 8, 0, 8, 7, 8, 5, 8]);
        let mut noise = Noise(12);
        let x = noise.floats(4 * dim, 1.0);
        let table = noise.floats(8 * dim, 1.0);
        for rotate in [false, true] {
            let mut together = Case::default();
            let (id, of) = (together.f32(&x), together.f32(&table));
            let places = Some(Places {
                buffer: together.u32(&[&places[..], &[0]].concat()),
                pages: 1,
            });
            let op = |x, table, places, rows| match rotate {
                true => Op::Rope {
                    x,
                    table,
                    places,
                    rows,
                    seq: rows,
                    heads: 1,
                    head_dim: dim,
                    rotary: dim,
                    inverse: false,
                },
                false => Op::AddPosition {
                    x,
                    table,
                    places,
                    rows,
                    seq: rows,
                    dim,
                },
            };
            let got = together.run(device, op(id, of, places, 4), &rows(4), id);
            for (r, pos) in [4, 0, 7, 5].into_iter().enumerate() {
                let mut alone = Case::default();
                let (id, of) = (alone.f32(&x[r * dim..][..dim]), alone.f32(&table));
                let want = alone.run(device, op(id, of, None, 1), &at(pos, 1), id);
                assert_eq!(got[r * dim..][..dim], want);
            }
        }
    });
}

#[test]
fn rows_are_picked() {
    on_both(|device| {
        let (dim, picks) = (65, [6u32, 0, 6, 3]);
        let x = Noise(13).floats(7 * dim, 1.0);
        let mut case = Case::default();
        let out = case.out(4 * dim);
        let op = Op::PickRows {
            x: case.f32(&x),
            picks: case.u32(&picks),
            out,
            rows: 4,
            dim,
        };
        let got = case.run(device, op, &rows(3), out);
        for (got, pick) in got.chunks(dim).zip(&picks[..3]) {
            assert_eq!(got, &x[*pick as usize * dim..][..dim]);
        }
    });
}

#[test]
fn attention_survives_huge_scores() {
    in_each_attention(|gpu| {
        let (head_dim, max_seq) = (4, 600);
        let mut k = vec![-1e10f32; max_seq * head_dim];
        k[500 * head_dim..501 * head_dim].fill(1e10);
        let v: Vec<f32> = (0..max_seq * head_dim).map(|i| i as f32).collect();
        let mut case = Case::default();
        let out = case.out(head_dim);
        let op = Op::CachedAttention {
            places: None,
            q: case.f32(&vec![1e10; head_dim]),
            cache_k: case.f32(&k),
            cache_v: case.f32(&v),
            out,
            rows: 1,
            heads: 1,
            kv_heads: 1,
            head_dim,
            max_seq,
            precision: CachePrecision::F32,
            scores: Scores::plain(head_dim),
        };
        let got = case.run(gpu, op, &at(599, 1), out);
        assert_eq!(got, [2000.0, 2001.0, 2002.0, 2003.0]);
    });
}

#[test]
fn activations_follow_f64() {
    with_gpu(|gpu| {
        for &activation in Activation::ALL {
            for dim in RAGGED {
                // Which of gate and up the output overwrites.
                for (gated, alias) in [(false, 0), (true, 0), (true, 1), (true, 2)] {
                    let mut noise = Noise(dim as u64);
                    let gate = with_extremes(noise.floats(3 * dim, 6.0), dim);
                    let up = noise.floats(3 * dim, 2.0);
                    let mut case = Case::default();
                    let (gate_id, up_id) = (case.f32(&gate), case.f32(&up));
                    let out = [case.out(3 * dim), gate_id, up_id][alias];
                    let op = Op::Activate {
                        gate: gate_id,
                        up: gated.then_some(up_id),
                        out,
                        activation,
                        rows: 3,
                        dim,
                    };
                    let got = case.run(gpu, op, &rows(3), out);
                    let want: Vec<f64> = gate
                        .iter()
                        .zip(&up)
                        .map(|(g, u)| {
                            act(activation, f64::from(*g)) * if gated { f64::from(*u) } else { 1.0 }
                        })
                        .collect();
                    for (got, want) in got.chunks(dim).zip(want.chunks(dim)) {
                        assert_close(&format!("{activation:?}"), got, want, TRANSCENDENTAL);
                    }
                }
            }
        }
    });
}

pub fn act(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Gelu => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::GeluErf => 0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Relu2 => x.max(0.0).powi(2),
    }
}

#[test]
fn activations_never_overflow() {
    with_gpu(|gpu| {
        for &activation in Activation::ALL {
            let mut case = Case::default();
            let out = case.out(4);
            let op = Op::Activate {
                gate: case.f32(&[1e30, -1e30, f32::MAX, f32::MIN]),
                up: None,
                out,
                activation,
                rows: 1,
                dim: 4,
            };
            let got = case.run(gpu, op, &rows(1), out);
            assert!(got.iter().all(|v| v.is_finite()), "{activation:?}: {got:?}");
            assert!(got[0] > 0.0 && got[1] == 0.0, "{activation:?}: {got:?}");
        }
    });
}

#[test]
fn branches_are_added_to_the_residual_stream() {
    with_gpu(|gpu| {
        for dim in RAGGED {
            for in_place in [false, true] {
                let mut noise = Noise(dim as u64);
                let (x, branch) = (noise.floats(3 * dim, 1.0), noise.floats(3 * dim, 1.0));
                let mut case = Case::default();
                let input = case.f32(&x);
                let out = if in_place { input } else { case.out(3 * dim) };
                let op = Op::Residual {
                    x: input,
                    branch: case.f32(&branch),
                    out,
                    scale: std::f32::consts::FRAC_1_SQRT_2,
                    rows: 3,
                    dim,
                };
                let want: Vec<f64> = x
                    .iter()
                    .zip(&branch)
                    .map(|(x, b)| {
                        f64::from(*x) + f64::from(std::f32::consts::FRAC_1_SQRT_2) * f64::from(*b)
                    })
                    .collect();
                assert_close(
                    "residual",
                    &case.run(gpu, op, &rows(3), out),
                    &want,
                    ROUNDINGS,
                );
            }
        }
    });
}

#[test]
fn the_last_valid_row_is_taken() {
    with_gpu(|gpu| {
        for dim in RAGGED {
            let x = Noise(dim as u64).floats(5 * dim, 1.0);
            for active in [1, 3, 5] {
                let mut case = Case::default();
                let out = case.out(dim);
                let op = Op::LastRow {
                    x: case.f32(&x),
                    out,
                    rows: 5,
                    dim,
                };
                assert_eq!(
                    case.run(gpu, op, &rows(active), out),
                    x[(active - 1) * dim..active * dim]
                );
            }
        }
    });
}

/// Attention over what was written is that over the rounded keys and values, and what is written is
/// rounded alike everywhere.
#[test]
fn caches_hold_rounded_keys_and_values() {
    with_gpu(|gpu| {
        for (rows_n, heads, kv_heads, head_dim, pos, max_seq, precision) in [
            (3, 4, 2, 6, 5, 9, CachePrecision::F16),
            (2, 2, 1, 64, 130, 200, CachePrecision::F16),
            (1, 1, 1, 2, 0, 1, CachePrecision::F16),
            (3, 4, 2, 8, 5, 9, CachePrecision::Q8),
            (2, 2, 1, 64, 130, 200, CachePrecision::Q8),
            (2, 6, 3, 132, 70, 71, CachePrecision::Q8),
            (1, 1, 1, 4, 0, 1, CachePrecision::Q8),
        ] {
            let mut noise = Noise(head_dim as u64 + 3);
            let kv_dim = kv_heads * head_dim;
            let mut k = noise.floats(rows_n * kv_dim, 3.0);
            let v = noise.floats(rows_n * kv_dim, 1.0);
            // Subnormal, beyond the range, and a tie.
            k[0] = 3e-6;
            k[1] = -1e30;
            let position = kv_heads * precision.head_bytes(head_dim);
            let old = rounded(&noise.floats(max_seq * kv_dim, 1.0), head_dim, precision);
            let mut case = Case::default();
            let [cache_k, cache_v] = [(); 2].map(|()| case.bytes(elem(precision), old.clone()));
            let op = Op::KvWrite {
                places: None,
                k: case.f32(&k),
                v: case.f32(&v),
                cache_k,
                cache_v,
                rows: rows_n,
                kv_heads,
                head_dim,
                max_seq,
                precision,
            };
            let read = case
                .try_run(gpu, op, &at(pos, rows_n), &[cache_k, cache_v])
                .unwrap();
            let mut caches = Vec::new();
            for (new, got) in [(k, &read[0]), (v, &read[1])] {
                let mut want = old.clone();
                let last = (pos + rows_n).min(max_seq);
                let new = rounded(&new, head_dim, precision);
                want[pos * position..last * position]
                    .copy_from_slice(&new[..(last - pos) * position]);
                assert_eq!(*got, want, "{precision:?}, heads of {head_dim}");
                caches.push(want);
            }

            // Over the same values in f32 the result is the same.
            let q = noise.floats(rows_n * heads * head_dim, 1e-3);
            let scores = Scores::plain(head_dim);
            let mut results = Vec::new();
            for wide in [true, false] {
                let mut case = Case::default();
                let out = case.out(q.len());
                let [cache_k, cache_v] = [0, 1].map(|i| match wide {
                    true => case.f32(&widened(&caches[i], head_dim, precision)),
                    false => case.bytes(elem(precision), caches[i].clone()),
                });
                let op = Op::CachedAttention {
                    places: None,
                    q: case.f32(&q),
                    cache_k,
                    cache_v,
                    out,
                    rows: rows_n,
                    heads,
                    kv_heads,
                    head_dim,
                    max_seq,
                    precision: if wide { CachePrecision::F32 } else { precision },
                    scores,
                };
                results.push(case.run(gpu, op, &at(pos, rows_n), out));
            }
            let what = format!("{precision:?}, heads of {head_dim}");
            assert_close(&what, &results[1], &f64s(&results[0]), TRANSCENDENTAL);
        }
    });
}

fn elem(precision: CachePrecision) -> Elem {
    match precision {
        CachePrecision::F32 => Elem::F32,
        CachePrecision::F16 => Elem::F16,
        CachePrecision::Q8 => Elem::I8,
    }
}

/// Heads as a cache keeps them, written down without the kernels.
fn rounded(values: &[f32], head_dim: usize, precision: CachePrecision) -> Vec<u8> {
    let of = |head: &[f32]| -> Vec<u8> {
        match precision {
            CachePrecision::F32 => head.iter().flat_map(|v| v.to_le_bytes()).collect(),
            CachePrecision::F16 => head
                .iter()
                .flat_map(|v| math::to_half(*v).to_le_bytes())
                .collect(),
            CachePrecision::Q8 => {
                let largest = head.iter().fold(0f32, |m, v| m.max(v.abs()));
                let scale = largest.max(1e-5) / 127.0;
                let code = |v: &f32| (v / scale).round_ties_even() as i8 as u8;
                head.iter().map(code).chain(scale.to_le_bytes()).collect()
            }
        }
    };
    values.chunks(head_dim).flat_map(of).collect()
}

/// The values of such a cache.
fn widened(cache: &[u8], head_dim: usize, precision: CachePrecision) -> Vec<f32> {
    let of = |head: &[u8]| -> Vec<f32> {
        match precision {
            CachePrecision::F32 => elements(head),
            CachePrecision::F16 => {
                let halves = elements::<u16>(head).into_iter();
                halves.map(math::half).collect()
            }
            CachePrecision::Q8 => {
                let (codes, scale) = head.split_at(head_dim);
                let scale = f32::from_le_bytes(*scale.first_chunk().unwrap());
                let value = |code: &u8| f32::from(*code as i8) * scale;
                codes.iter().map(value).collect()
            }
        }
    };
    let heads = cache.chunks(precision.head_bytes(head_dim));
    heads.flat_map(of).collect()
}
