//! Attention over whole sequences and its gradients.

use super::compare::{GRADIENT_PRODUCTS, SUMS, TRANSCENDENTAL, assert_close};
use super::*;
use ternary_model::program::{AttentionShape, Scores};

/// Forward and backward in f64.
struct Plain {
    out: Vec<f64>,
    lse: Vec<f64>,
    dq: Vec<f64>,
    dk: Vec<f64>,
    dv: Vec<f64>,
}

/// With `positions` of the rows in their documents.
fn plain(
    s: AttentionShape,
    positions: &[u32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    dout: &[f32],
) -> Plain {
    let (q, k, v, dout) = (f64s(q), f64s(k), f64s(v), f64s(dout));
    let d = s.head_dim;
    let mut r = Plain {
        out: vec![0.0; q.len()],
        lse: Vec::new(),
        dq: vec![0.0; q.len()],
        dk: vec![0.0; k.len()],
        dv: vec![0.0; v.len()],
    };
    let scale = f64::from(s.scores.scale);
    // Value and derivative.
    let cap = |score: f64| match s.scores.softcap.map(f64::from) {
        Some(cap) => (
            cap * (score / cap).tanh(),
            1.0 - (score / cap).tanh().powi(2),
        ),
        None => (score, 1.0),
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let add = |to: &mut [f64], factor: f64, from: &[f64]| {
        for (t, f) in to.iter_mut().zip(from) {
            *t += factor * f;
        }
    };
    for b in 0..s.batch {
        for h in 0..s.heads {
            let query = |t: usize| ((b * s.seq + t) * s.heads + h) * d;
            let kv = h / (s.heads / s.kv_heads);
            let key = |t: usize| ((b * s.seq + t) * s.kv_heads + kv) * d;
            for i in 0..s.seq {
                let at = query(i);
                let own = at..at + d;
                let document = i - positions[b * s.seq + i] as usize;
                let window = s.scores.window.map_or(0, |w| (i + 1).saturating_sub(w));
                let first = document.max(window);
                let score = |j: usize| match j < first {
                    true => (f64::NEG_INFINITY, 0.0),
                    false => cap(scale * dot(&q[own.clone()], &k[key(j)..key(j) + d])),
                };
                let scores: Vec<f64> = (0..=i).map(|j| score(j).0).collect();
                let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                let total: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
                let lse = largest + total.ln();
                r.lse.push(lse);
                let p: Vec<f64> = scores.iter().map(|s| (s - lse).exp()).collect();
                for (j, p) in p.iter().enumerate() {
                    add(&mut r.out[own.clone()], *p, &v[key(j)..key(j) + d]);
                    add(&mut r.dv[key(j)..key(j) + d], *p, &dout[own.clone()]);
                }
                let dp: Vec<f64> = (0..=i)
                    .map(|j| dot(&dout[own.clone()], &v[key(j)..key(j) + d]))
                    .collect();
                let mean = dot(&p, &dp);
                for j in 0..=i {
                    let ds = scale * p[j] * (dp[j] - mean) * score(j).1;
                    add(&mut r.dq[own.clone()], ds, &k[key(j)..key(j) + d]);
                    add(&mut r.dk[key(j)..key(j) + d], ds, &q[own.clone()]);
                }
            }
        }
    }
    r
}

fn check(backend: &mut dyn Backend, shape: AttentionShape, size: f32) {
    check_documents(backend, shape, size, &[]);
}

/// `documents`: lengths of those that each sequence begins with; the rest is one. None are not told
/// of.
fn check_documents(
    backend: &mut dyn Backend,
    shape: AttentionShape,
    size: f32,
    documents: &[usize],
) {
    let rest = shape.seq - documents.iter().sum::<usize>();
    let lengths = documents.iter().chain([&rest]);
    let one: Vec<u32> = lengths.flat_map(|len| 0..*len as u32).collect();
    let positions = one.repeat(shape.batch);
    let apart = !documents.is_empty();
    let mut noise = Noise(shape.seq as u64);
    let rows_n = shape.batch * shape.seq;
    let (wide, narrow) = (
        rows_n * shape.heads * shape.head_dim,
        rows_n * shape.kv_heads * shape.head_dim,
    );
    let (q, dout) = (noise.floats(wide, size), noise.floats(wide, 1.0));
    let (k, v) = (noise.floats(narrow, size), noise.floats(narrow, 1.0));
    let want = plain(shape, &positions, &q, &k, &v, &dout);

    let mut case = Case::default();
    let (out, lse) = (case.out(wide), case.out(want.lse.len()));
    let op = Op::Attention {
        q: case.f32(&q),
        k: case.f32(&k),
        v: case.f32(&v),
        positions: apart.then(|| case.u32(&positions)),
        out,
        lse,
        shape,
    };
    let [got_out, got_lse] = case.run_all(backend, op, &rows(rows_n), [out, lse]);
    let what = |of: &str| format!("{of} of {shape:?}, documents {documents:?}");
    assert_close(&what("out"), &got_out, &want.out, TRANSCENDENTAL);
    assert_close(&what("lse"), &got_lse, &want.lse, TRANSCENDENTAL);

    let mut case = Case::default();
    let (dq, dk, dv) = (case.out(wide), case.out(narrow), case.out(narrow));
    let op = Op::AttentionBackward {
        q: case.f32(&q),
        k: case.f32(&k),
        v: case.f32(&v),
        positions: apart.then(|| case.u32(&positions)),
        out: case.f32(&got_out),
        lse: case.f32(&got_lse),
        dout: case.f32(&dout),
        dq,
        dk,
        dv,
        shape,
    };
    let got = case.run_all(backend, op, &rows(rows_n), [dq, dk, dv]);
    for (name, got, want) in [
        ("dq", &got[0], &want.dq),
        ("dk", &got[1], &want.dk),
        ("dv", &got[2], &want.dv),
    ] {
        // Gradients of scores are differences that may vanish (one key; all weight on one key):
        // what remains are roundings of what they multiply.
        let rounding = SUMS * f64::from(size.max(1.0));
        let worst = got
            .iter()
            .zip(want)
            .map(|(g, w)| (f64::from(*g) - w).abs())
            .fold(0.0, f64::max);
        if worst > rounding {
            assert_close(&what(name), got, want, GRADIENT_PRODUCTS);
        }
    }
}

fn shape(
    batch: usize,
    seq: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
) -> AttentionShape {
    AttentionShape {
        batch,
        seq,
        heads,
        kv_heads,
        head_dim,
        scores: Scores::plain(head_dim),
    }
}

#[test]
fn attention_and_its_gradients_follow_f64() {
    on_both(|backend| {
        for shape in [
            shape(1, 1, 1, 1, 1),
            shape(2, 3, 4, 2, 6),
            // Several tiles, heads wider than a block, one key/value head for all.
            shape(1, 65, 3, 1, 65),
            shape(2, 33, 2, 2, 32),
            shape(1, 7, 1, 1, 257),
        ] {
            check(backend, shape, 1.0);
        }
    });
}

#[test]
fn windows_and_caps_follow_f64() {
    on_both(|backend| {
        for (window, softcap, scale) in [
            (Some(1), None, 0.5),
            (Some(3), None, 0.5),
            (Some(33), Some(0.8), 0.5),
            (Some(200), None, 0.5),
            (None, Some(2.0), 1.5),
        ] {
            let scores = Scores {
                scale,
                softcap,
                window,
            };
            for shape in [shape(2, 3, 4, 2, 6), shape(1, 100, 3, 1, 34)] {
                check(backend, AttentionShape { scores, ..shape }, 1.0);
            }
        }
    });
}

#[test]
fn documents_of_a_sequence_do_not_see_each_other() {
    on_both(|backend| {
        for (seq, documents) in [
            (3, &[1, 1][..]),
            (7, &[2, 4]),
            // Ends on tiles and blocks, beside them, and a document over several.
            (64, &[32]),
            (65, &[1, 31, 1, 31]),
            (200, &[33, 97, 2]),
            (200, &[150]),
            (257, &[100, 1, 60, 64]),
        ] {
            for window in [None, Some(5), Some(40)] {
                let scores = Scores {
                    window,
                    softcap: window.map(|_| 2.0),
                    ..Scores::plain(34)
                };
                let shape = AttentionShape {
                    scores,
                    ..shape(2, seq, 4, 2, 34)
                };
                check_documents(backend, shape, 1.0, documents);
            }
        }
    });
}

#[test]
fn attention_of_zeros_and_of_sharp_scores() {
    on_both(|backend| {
        check(backend, shape(1, 40, 2, 1, 16), 0.0);
        // Scores of some ten thousand: all weight on one key.
        check(backend, shape(1, 40, 2, 1, 16), 300.0);
    });
}
