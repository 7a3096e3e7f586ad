//! Forward weights of latents.

use super::compare::{SUMS, TRANSCENDENTAL, assert_close};
use super::*;
use ternary_model::program::WeightQuant;

/// The forward weight of a latent in f64, see [`ternary_core::quant`].
fn plain(
    w: &[f32],
    span: usize,
    quant: &WeightQuant,
    [alpha, arenas, share]: [f64; 3],
) -> Vec<f64> {
    let clamp = |w: f64| match f64::from(quant.clamp) {
        0.0 => w,
        c => w.clamp(-c, c),
    };
    let mut out = Vec::new();
    for latents in w.chunks(span) {
        let all: Vec<f64> = f64s(latents).into_iter().map(clamp).collect();
        let n = all.len() as f64;
        let mean_abs = |center: f64| all.iter().map(|w| (w - center).abs()).sum::<f64>() / n;
        let (size, threshold, center) = match quant.mode {
            QuantMode::EightBit => {
                let largest = all.iter().fold(0.0f64, |m, w| m.max(w.abs()));
                ((largest / 127.0).max(1e-10), 0.0, 0.0)
            }
            QuantMode::Ternary if quant.twn => {
                let threshold = 0.7 * mean_abs(0.0);
                let kept: Vec<f64> = all
                    .iter()
                    .map(|w| w.abs())
                    .filter(|w| *w > threshold)
                    .collect();
                (
                    kept.iter().sum::<f64>() / kept.len().max(1) as f64,
                    threshold,
                    0.0,
                )
            }
            QuantMode::Binary if quant.centered => {
                let center = all.iter().sum::<f64>() / n;
                (mean_abs(center), 0.0, center)
            }
            _ => (mean_abs(0.0), 0.0, 0.0),
        };
        let size = size.max(if quant.mode == QuantMode::EightBit {
            0.0
        } else {
            f64::from(1e-5f32)
        });
        let scale = if quant.scaled { size } else { 1.0 };
        out.extend(latents.iter().zip(&all).map(|(latent, w)| {
            let value = match quant.mode {
                QuantMode::EightBit => (w / size).round_ties_even() * scale,
                _ if alpha > 0.0 => size * (alpha * (w - center) / size).tanh(),
                QuantMode::Ternary if quant.twn && w.abs() > threshold => scale * w.signum(),
                QuantMode::Ternary if quant.twn => 0.0,
                QuantMode::Ternary => (w / size).round_ties_even().clamp(-1.0, 1.0) * scale,
                _ => scale * if *w >= center { 1.0 } else { -1.0 },
            };
            (1.0 - share) * value + share * w + arenas * f64::from(*latent)
        }));
    }
    out
}

/// Latents none of which f32 rounding could decide the other way.
fn latents(len: usize, span: usize, quant: &WeightQuant) -> Vec<f32> {
    let mut w = Noise(len as u64).floats(len, 2.0);
    for _ in 0..20 {
        let hard = |factor: f32| {
            let moved: Vec<f32> = w.iter().map(|w| w * factor + (factor - 1.0)).collect();
            plain(&moved, span, quant, [0.0; 3])
        };
        let (low, mid, high) = (hard(0.9999), hard(1.0), hard(1.0001));
        // Scales move as little as the latents; a code that moves moves by at least a 127th of the
        // largest weight.
        let near = |a: f64, b: f64| {
            (a - b).abs() <= 0.5 * mid.iter().fold(0.0, |m: f64, v| m.max(v.abs())) / 127.0
        };
        let undecided: Vec<usize> = (0..len)
            .filter(|i| !near(low[*i], mid[*i]) || !near(high[*i], mid[*i]))
            .collect();
        if undecided.is_empty() {
            return w;
        }
        for i in undecided {
            w[i] += 0.013;
        }
    }
    panic!("no decided latents for {quant:?}");
}

fn quants() -> Vec<WeightQuant> {
    let base = WeightQuant {
        mode: QuantMode::Ternary,
        group: 0,
        scaled: true,
        twn: false,
        centered: false,
        clamp: 1.5,
    };
    vec![
        base,
        WeightQuant { twn: true, ..base },
        WeightQuant {
            mode: QuantMode::Binary,
            clamp: 0.0,
            ..base
        },
        WeightQuant {
            mode: QuantMode::Binary,
            centered: true,
            scaled: false,
            ..base
        },
        WeightQuant {
            mode: QuantMode::EightBit,
            clamp: 0.0,
            ..base
        },
    ]
}

fn check(
    backend: &mut dyn Backend,
    w: &[f32],
    [rows_n, cols]: [usize; 2],
    quant: WeightQuant,
    soft: [f32; 3],
) {
    let [alpha, arenas, float_share] = soft;
    let mut case = Case::default();
    let out = case.out(w.len());
    let op = Op::FakeQuantWeight {
        latent: case.f32(w),
        out,
        rows: rows_n,
        cols,
        quant,
        arenas: arenas > 0.0,
    };
    let run_params = RunParams {
        anneal: alpha,
        arenas,
        float_share,
        ..rows(1)
    };
    let got = case.run(backend, op, &run_params, out);
    let span = quant.span_len(rows_n, cols);
    let want = plain(w, span, &quant, soft.map(f64::from));
    let tolerance = if alpha > 0.0 { TRANSCENDENTAL } else { SUMS };
    assert_close(
        &format!("{rows_n}×{cols}, α {alpha}, {quant:?}"),
        &got,
        &want,
        tolerance,
    );
}

#[test]
fn forward_weights_follow_f64() {
    on_both(|backend| {
        for quant in quants() {
            // One scale for the tensor (the last measured in several stretches), one per row, one
            // per group.
            for (shape, group) in [
                ([1, 1], 0),
                ([65, 3], 0),
                ([70, 257], 0),
                ([3, 257], 257),
                ([5, 64], 32),
            ] {
                let quant = WeightQuant { group, ..quant };
                let w = latents(
                    shape[0] * shape[1],
                    quant.span_len(shape[0], shape[1]),
                    &quant,
                );
                check(backend, &w, shape, quant, [0.0, 0.0, 0.0]);
            }
            let w = latents(5 * 64, 64, &WeightQuant { group: 64, ..quant });
            let rows = WeightQuant { group: 64, ..quant };
            for soft in [
                [2.5, 0.0, 0.0],
                [0.0, 0.3, 0.0],
                [0.0, 0.0, 0.3],
                [0.0, 0.0, 1.0],
            ] {
                check(backend, &w, [5, 64], rows, soft);
                check(
                    backend,
                    &w,
                    [5, 64],
                    WeightQuant { group: 0, ..quant },
                    soft,
                );
            }
        }
    });
}

#[test]
fn zero_and_saturated_latents_have_finite_weights() {
    on_both(|backend| {
        for quant in quants() {
            for value in [0.0f32, 1e30, -1e30] {
                for (group, alpha) in [(0, 0.0), (4, 8.0)] {
                    check(
                        backend,
                        &[value; 8],
                        [2, 4],
                        WeightQuant { group, ..quant },
                        [alpha, 0.0, 0.0],
                    );
                }
            }
        }
    });
}
