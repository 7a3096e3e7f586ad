//! Against f64.

use super::*;
use crate::cpu::matmul::{Exactness, View};
use ternary_core::rng::Rng;

/// A gradient, codes and the scales of their rows.
struct Operands {
    a: Vec<f32>,
    b: Vec<f32>,
    scales: Vec<f32>,
}

/// `spread`: how far magnitudes of the gradient lie apart, in powers of e.
fn operands([m, n, k]: [usize; 3], most: i32, one: bool, spread: f32) -> Operands {
    let mut rng = Rng::new((m + n + k) as u64);
    let a = (0..m * k).map(|_| rng.normal() * (spread * rng.normal()).exp());
    let a = a.collect();
    let scales: Vec<f32> = (0..if one { 1 } else { k })
        .map(|_| 0.01 + rng.normal().abs())
        .collect();
    let b = (0..k * n).map(|i| {
        let code = (rng.next_u64() % (2 * most as u64 + 1)) as i32 - most;
        code as f32 * scales[if one { 0 } else { i / n }]
    });
    let b = b.collect();
    Operands { a, b, scales }
}

fn product_of<'a>(x: &'a Operands, [m, n, k]: [usize; 3], trans_a: bool) -> Product<'a> {
    Product::new(
        View::stored(&x.a, m, k, trans_a),
        View::new(&x.b, k, n),
        Exactness {
            precision: Precision::Gradient,
            scales: [None, Some(&x.scales)],
        },
    )
}

#[test]
fn only_the_gradient_is_rounded_and_no_more_than_said() {
    let mut tried = 0;
    for level in Level::available() {
        for sizes in [
            [16, 16, 16],
            [33, 40, 300],
            [17, 65, 129],
            [100, 20, 64],
            [70, 130, 65],
        ] {
            for case in 0..16u32 {
                let [trans_a, accumulate, one, wide] = [1, 2, 4, 8].map(|bit| case & bit != 0);
                let [m, n, k] = sizes;
                let (most, spread) = (if one { 1 } else { 127 }, if wide { 2.0 } else { 0.0 });
                let x = operands(sizes, most, one, spread);
                let asked = Product {
                    alpha: 0.5,
                    accumulate,
                    ..product_of(&x, sizes, trans_a)
                };
                let start: Vec<f32> = (0..m * n).map(|i| i as f32 * 1e-3).collect();
                let mut out = start.clone();
                if !product(level, &asked, &mut out) {
                    continue;
                }
                tried += 1;
                let (mut off, mut whole) = (0.0, 0.0);
                for i in 0..m {
                    let a = |l: usize| f64::from(x.a[if trans_a { l * m + i } else { i * k + l }]);
                    let factor = |l: usize| f64::from(x.scales[if one { 0 } else { l }]);
                    // Of a weight's gradient spans of 64 have a scale and 16 bits, of an input's
                    // rows, and 23.
                    let (span, most) = if trans_a {
                        (64, 32767.0)
                    } else {
                        (k, 4_194_303.0)
                    };
                    let largest = |l: usize| {
                        let span = l / span * span..k.min((l / span + 1) * span);
                        span.map(|l| (a(l) * factor(l)).abs()).fold(0.0, f64::max)
                    };
                    let largest: Vec<f64> = (0..k).map(largest).collect();
                    for j in 0..n {
                        let b = |l: usize| f64::from(x.b[l * n + j]);
                        let mut sum = if accumulate {
                            f64::from(start[i * n + j])
                        } else {
                            0.0
                        };
                        let (mut size, mut limit) = (sum.abs(), 1e-12);
                        for (l, largest) in largest.iter().enumerate() {
                            sum += 0.5 * a(l) * b(l);
                            size += (0.5 * a(l) * b(l)).abs();
                            // Half a step of the largest.
                            limit += 0.5 * largest / (2.0 * most) * (b(l) / factor(l)).abs();
                        }
                        let error = (f64::from(out[i * n + j]) - sum).abs();
                        limit = 1.01 * limit + 1e-6 * size;
                        let at = format!("{level:?} {sizes:?} {case} ({i}, {j})");
                        assert!(error <= limit, "{at}: {error:e}, {limit:e}");
                        off += error * error;
                        whole += sum * sum;
                    }
                }
                let limit = match (trans_a, wide) {
                    (false, _) => 2e-6,
                    (true, false) => 5e-5,
                    (true, true) => 1e-4,
                };
                let error = (off / whole).sqrt();
                assert!(error < limit, "{level:?} {sizes:?} {case}: {error:e}");
            }
        }
    }
    if tried == 0 {
        eprintln!("SKIPPED: this machine has no dot products of integers of 16 bits");
    }
}

#[test]
fn every_level_has_the_same_bits() {
    let sizes = [50, 70, 200];
    let x = operands(sizes, 127, false, 1.0);
    for trans_a in [false, true] {
        let mut first: Option<Vec<f32>> = None;
        for level in Level::available() {
            let mut out = vec![0.0; sizes[0] * sizes[1]];
            if product(level, &product_of(&x, sizes, trans_a), &mut out) {
                assert!(
                    first.get_or_insert_with(|| out.clone()) == &out,
                    "{level:?}"
                );
            }
        }
    }
}

#[test]
fn what_is_not_finite_is_not_lost() {
    let [m, n, k] = [20, 40, 80];
    for level in Level::available() {
        for bad in [f32::NAN, f32::INFINITY] {
            for (of_codes, trans_a) in [(false, false), (false, true), (true, false)] {
                let mut x = operands([m, n, k], 127, false, 0.0);
                match (of_codes, trans_a) {
                    (true, _) => x.b[70 * n + 3] = bad,
                    (false, true) => x.a[70 * m + 3] = bad,
                    (false, false) => x.a[3 * k + 70] = bad,
                }
                let mut out = vec![0.0; m * n];
                if !product(level, &product_of(&x, [m, n, k], trans_a), &mut out) {
                    continue;
                }
                for (i, v) in out.iter().enumerate() {
                    let (row, column) = (i / n, i % n);
                    assert!(of_codes || v.is_nan() == (row == 3), "({row}, {column})");
                    assert!(v.is_nan() || column != 3 || !of_codes);
                }
            }
        }
    }
}

#[test]
fn gradients_too_small_for_a_scale_are_zeros() {
    let [m, n, k] = [20, 24, 130];
    for level in Level::available() {
        for size in [0.0, 1e-45, 1e-40, 1e-37] {
            for trans_a in [false, true] {
                let mut x = operands([m, n, k], 127, true, 0.0);
                // All of row 3.
                for l in 0..k {
                    x.a[if trans_a { l * m + 3 } else { 3 * k + l }] = size;
                }
                let mut out = vec![f32::NAN; m * n];
                if product(level, &product_of(&x, [m, n, k], trans_a), &mut out) {
                    for (i, v) in out.iter().enumerate() {
                        assert!(v.is_finite(), "{size:e}: {v}");
                        assert!((v.abs() < 1e-30) == (i / n == 3), "{size:e}: {v}");
                    }
                }
            }
        }
    }
}

#[test]
fn sums_that_could_be_too_large_are_left_to_floats() {
    let sizes = [16, 16, 140_000];
    for level in Level::available() {
        for (most, one) in [(127, false), (1, true)] {
            let x = operands(sizes, most, one, 0.0);
            let mut out = vec![0.0; 16 * 16];
            let made = product(level, &product_of(&x, sizes, false), &mut out);
            assert!(!made || most == 1, "{level:?}");
        }
    }
}

#[test]
fn what_is_no_gradient_of_codes_is_left_to_others() {
    let values = vec![1.0f32; 32 * 32];
    let view = View::new(&values, 32, 32);
    let mut out = vec![0.0; 32 * 32];
    for level in Level::available() {
        let floats = Product::new(view, view, Precision::Gradient);
        assert!(!product(level, &floats, &mut out));
        let forward = Exactness {
            precision: Precision::Float,
            scales: [None, Some(&[1.0])],
        };
        assert!(!product(
            level,
            &Product::new(view, view, forward),
            &mut out
        ));
    }
}

/// Codes times scales, one of all rows or one of every row.
fn quantized(rng: &mut Rng, rows: usize, k: usize, most: i32, one: bool) -> (Vec<f32>, Vec<f32>) {
    let scales: Vec<f32> = (0..if one { 1 } else { rows })
        .map(|_| 0.01 + rng.normal().abs())
        .collect();
    let value = |i: usize| {
        let code = (rng.next_u64() % (2 * most as u64 + 1)) as i32 - most;
        code as f32 * scales[if one { 0 } else { i / k }]
    };
    ((0..rows * k).map(value).collect(), scales)
}

#[test]
fn sums_of_codes_are_those_of_the_floats() {
    let mut tried = 0;
    for level in Level::available() {
        for (m, n, k) in [(16, 16, 16), (33, 40, 300), (17, 65, 129), (100, 20, 64)] {
            for (most, one) in [(1, true), (127, false)] {
                let mut rng = Rng::new((m + n + k) as u64);
                let (a, of_a) = quantized(&mut rng, m, k, 127, false);
                let (b, of_b) = quantized(&mut rng, n, k, most, one);
                let asked = Product {
                    alpha: 0.5,
                    ..Product::new(
                        View::new(&a, m, k),
                        View::stored(&b, k, n, true),
                        Exactness {
                            precision: Precision::Float,
                            scales: [Some(&of_a), Some(&of_b)],
                        },
                    )
                };
                let mut out = vec![f32::NAN; m * n];
                if !product(level, &asked, &mut out) {
                    continue;
                }
                tried += 1;
                for i in 0..m {
                    for j in 0..n {
                        let terms =
                            (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[j * k + l]) * 0.5);
                        let (sum, size) = terms.fold((0.0, 0.0), |(s, a), t| (s + t, a + t.abs()));
                        let error = (f64::from(out[i * n + j]) - sum).abs();
                        assert!(
                            error <= 3e-7 * size + 1e-12,
                            "{m}×{n}×{k} ({i}, {j}): {error:e}"
                        );
                    }
                }
            }
        }
    }
    if tried == 0 {
        eprintln!("SKIPPED: this machine has no dot products of bytes");
    }
}

#[test]
fn what_is_not_finite_in_codes_is_not_lost() {
    let (k, n) = (40, 20);
    for level in Level::available() {
        for bad in [f32::NAN, f32::INFINITY] {
            for operand in 0..2 {
                let mut values = [vec![1.0f32; n * k], vec![1.0f32; n * k]];
                values[operand][3 * k + 7] = bad;
                let asked = Product::new(
                    View::new(&values[0], n, k),
                    View::stored(&values[1], k, n, true),
                    Exactness {
                        precision: Precision::Float,
                        scales: [Some(&[1.0]), Some(&[1.0])],
                    },
                );
                let mut out = vec![0.0; n * n];
                if !product(level, &asked, &mut out) {
                    continue;
                }
                for (i, v) in out.iter().enumerate() {
                    let touched = [i / n, i % n][operand] == 3;
                    assert_eq!(v.is_nan(), touched, "{i} of operand {operand}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_product_of_codes_is_left_to_others() {
    let values = vec![1.0f32; 32 * 32];
    let view = View::new(&values, 32, 32);
    let mut out = vec![0.0; 32 * 32];
    for level in Level::available() {
        let plain = Product::new(view, view.transposed(), Precision::Float);
        assert!(!product(level, &plain, &mut out));
    }
}
