//! Products of f32 matrices.

use super::compare::{F16_PRODUCTS, GRADIENT_PRODUCTS, SUMS, assert_close, compare};
use super::*;
use crate::gpu::precision::Product;

/// `[rows, cols]` as it is stored.
fn stored(values: &[f32], rows: usize, cols: usize, transposed: bool) -> Vec<f32> {
    if !transposed {
        return values.to_vec();
    }
    (0..values.len())
        .map(|i| values[i % rows * cols + i / rows])
        .collect()
}

fn product(a: &[f32], b: &[f32], [m, n, k]: [usize; 3]) -> Vec<f64> {
    let (a, b) = (f64s(a), f64s(b));
    (0..m * n)
        .map(|i| (0..k).map(|j| a[i / n * k + j] * b[j * n + i % n]).sum())
        .collect()
}

fn check(
    backend: &mut dyn Backend,
    a: &[f32],
    b: &[f32],
    [m, n, k]: [usize; 3],
    [trans_a, trans_b, accumulate]: [bool; 3],
) {
    let before = Noise(1).floats(m * n, 1.0);
    let mut case = Case::default();
    let out = case.f32(&before);
    let op = Op::MatMul {
        a: case.f32(&stored(a, m, k, trans_a)),
        b: case.f32(&stored(b, k, n, trans_b)),
        out,
        m,
        n,
        k,
        trans_a,
        trans_b,
        accumulate,
    };
    let mut want = product(a, b, [m, n, k]);
    if accumulate {
        for (w, b) in want.iter_mut().zip(&before) {
            *w += f64::from(*b);
        }
    }
    let what = format!("{m}×{k}×{n}, transposed {trans_a} {trans_b}, added {accumulate}");
    // a·bᵀ is the layout of forward products, which are exact to f32.
    let tolerance = if trans_b { SUMS } else { GRADIENT_PRODUCTS };
    assert_close(
        &what,
        &case.run(backend, op, &rows(1), out),
        &want,
        tolerance,
    );
}

#[test]
fn products_follow_f64() {
    on_both(|backend| {
        for (i, [m, n, k]) in [
            [1, 1, 1],
            [3, 65, 257],
            [257, 3, 65],
            [65, 257, 3],
            // Whole tiles.
            [128, 128, 16],
            // Few results of long sums: computed in parts.
            [5, 7, 1100],
            [64, 64, 1024],
        ]
        .into_iter()
        .enumerate()
        {
            let mut noise = Noise(k as u64);
            let (a, b) = (noise.floats(m * k, 1.0), noise.floats(k * n, 1.0));
            for (j, trans) in [[false, false], [false, true], [true, false], [true, true]]
                .into_iter()
                .enumerate()
            {
                // Every layout added to and overwriting, in turn.
                check(
                    backend,
                    &a,
                    &b,
                    [m, n, k],
                    [trans[0], trans[1], (i + j) % 2 == 0],
                );
            }
        }
    });
}

#[test]
fn products_of_zeros_and_of_huge_numbers() {
    on_both(|backend| {
        let shape = [3, 5, 300];
        let zeros = vec![0.0; 1500];
        let huge = Noise(2).floats(1500, 1e15);
        check(backend, &zeros[..900], &huge, shape, [false; 3]);
        check(backend, &huge[..900], &huge, shape, [false, true, false]);
    });
}

#[test]
fn products_of_f16_operands_follow_f64() {
    with_gpu(|_| {
        let options = BackendOptions {
            f16_products: true,
            ..BackendOptions::default()
        };
        let mut gpu = pollster::block_on(GpuBackend::new(&options)).unwrap();
        if gpu.product == Product::F32 {
            eprintln!("this adapter has no f16: products stay in f32");
            assert!(!Backend::info(&gpu).name.contains("f16"));
            return;
        }
        assert!(Backend::info(&gpu).name.contains("f16"));
        let run_params = RunParams {
            grad_scale: 1e-5,
            ..rows(1)
        };
        for ([m, n, k], trans_a, trans_b) in [
            ([3, 65, 257], false, true),
            ([128, 128, 64], false, false),
            ([65, 70, 1100], true, false),
        ] {
            let mut noise = Noise(k as u64);
            // Gradients, mostly below what f16 can hold.
            let size = if trans_b { 1.0 } else { run_params.grad_scale };
            let (a, b) = (noise.floats(m * k, size), noise.floats(k * n, 1.0));
            let mut case = Case::default();
            let out = case.out(m * n);
            let op = Op::MatMul {
                a: case.f32(&stored(&a, m, k, trans_a)),
                b: case.f32(&stored(&b, k, n, trans_b)),
                out,
                m,
                n,
                k,
                trans_a,
                trans_b,
                accumulate: false,
            };
            let got = case.run(&mut gpu, op, &run_params, out);
            let want = product(&a, &b, [m, n, k]);
            let what = format!("{m}×{k}×{n}");
            assert_close(&what, &got, &want, F16_PRODUCTS);
            // And really rounded: f32 would be within SUMS.
            assert!(compare(&got, &want, SUMS).is_err(), "{what}");
        }
    });
}
