//! Products of f32 matrices.

use super::compare::{F16_PRODUCTS, GRADIENT_PRODUCTS, SUMS, assert_close, compare};
use super::*;
use crate::gpu::forms::Form;
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
) -> Vec<f32> {
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
    let got = case.run(backend, op, &rows(1), out);
    assert_close(&what, &got, &want, tolerance);
    got
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

/// Shapes of multiples of 4 beside those of the wide tiles, and results in parts.
const WIDE: [[usize; 3]; 4] = [
    [132, 68, 20],
    [68, 260, 132],
    [128, 128, 16],
    [72, 132, 1100],
];

#[test]
fn wide_tiles_give_the_same_bits() {
    with_gpu(|gpu| {
        for (i, [m, n, k]) in WIDE.into_iter().enumerate() {
            let mut noise = Noise(k as u64);
            let (a, b) = (noise.floats(m * k, 1.0), noise.floats(k * n, 1.0));
            for (j, trans) in [[false, false], [false, true], [true, false], [true, true]]
                .into_iter()
                .enumerate()
            {
                let flags = [trans[0], trans[1], (i + j) % 2 == 0];
                let forms = gpu.gpu.forms.forced.clone();
                let [narrow, wide] = [Form::TrainingTiles, Form::TrainingWideTiles].map(|form| {
                    gpu.gpu.forms.forced = vec![form];
                    check(gpu, &a, &b, [m, n, k], flags)
                });
                gpu.gpu.forms.forced = forms;
                assert_eq!(narrow, wide, "{m}×{n}×{k} {trans:?}");
            }
        }
    });
}

/// A device that rounds operands to f16; none if the adapter has no f16.
pub(super) fn rounding_device() -> Option<GpuBackend> {
    let options = BackendOptions {
        f16_products: true,
        ..BackendOptions::default()
    };
    let gpu = pollster::block_on(GpuBackend::new(&options)).unwrap();
    let rounds = gpu.product != Product::F32;
    assert_eq!(Backend::info(&gpu).name.contains("f16"), rounds);
    if !rounds {
        eprintln!("this adapter has no f16: products stay in f32");
    }
    rounds.then_some(gpu)
}

/// Values as f16 has them.
fn halved(values: &[f32]) -> Vec<f16> {
    values.iter().map(|v| f16::from_f32(*v)).collect()
}

#[test]
fn products_of_f16_operands_follow_f64() {
    with_gpu(|_| {
        if let Some(mut gpu) = rounding_device() {
            let ragged = [
                ([3, 65, 257], false, true),
                ([128, 128, 64], false, false),
                ([65, 70, 1100], true, false),
            ];
            let wide = WIDE.map(|size| (size, size[0] == 68, size[1] == 68));
            for size in ragged.into_iter().chain(wide) {
                follow_f64_in_f16(&mut gpu, size, &HALVES);
            }
        }
    });
}

/// Which operands are stored in f16.
pub(super) const HALVES: [[bool; 2]; 3] = [[false; 2], [false, true], [true; 2]];

/// A product of this size, its operands transposed or not, in every form.
pub(super) fn follow_f64_in_f16(
    gpu: &mut GpuBackend,
    ([m, n, k], trans_a, trans_b): ([usize; 3], bool, bool),
    kinds: &[[bool; 2]],
) {
    let run_params = RunParams {
        grad_scale: 1e-5,
        ..rows(1)
    };
    let mut noise = Noise(k as u64);
    // Gradients, mostly below what f16 can hold.
    let size = if trans_b { 1.0 } else { run_params.grad_scale };
    let (a, b) = (noise.floats(m * k, size), noise.floats(k * n, 1.0));
    let want = product(&a, &b, [m, n, k]);
    let mut first: Option<Vec<f32>> = None;
    for form in [Form::TrainingTiles, Form::TrainingWideTiles] {
        gpu.gpu.forms.forced = vec![form];
        for &halves in kinds {
            let mut case = Case::default();
            let out = case.out(m * n);
            let mut operand = |values: Vec<f32>, half: bool, scale: f32| {
                if !half {
                    return case.f32(&values);
                }
                // As the operation that keeps it in f16 leaves it.
                let scaled: Vec<f32> = values.iter().map(|v| v * (1.0 / scale)).collect();
                let bytes = bytemuck::cast_slice(&halved(&scaled)).to_vec();
                case.bytes(Elem::F16, bytes)
            };
            let op = Op::MatMul {
                a: operand(stored(&a, m, k, trans_a), halves[0], size),
                b: operand(stored(&b, k, n, trans_b), halves[1], 1.0),
                out,
                m,
                n,
                k,
                trans_a,
                trans_b,
                accumulate: false,
            };
            let got = case.run(gpu, op, &run_params, out);
            let what = format!("{m}×{k}×{n} {form:?}, in f16: {halves:?}");
            assert_close(&what, &got, &want, F16_PRODUCTS);
            // And really rounded: f32 would be within SUMS.
            assert!(compare(&got, &want, SUMS).is_err(), "{what}");
            match &first {
                Some(first) => assert_eq!(&got, first, "{what}"),
                None => first = Some(got),
            }
        }
    }
}

#[test]
fn training_products_are_compared_and_timed_on_matrices_of_their_own() {
    with_gpu(|_| {
        for planted in [None, Some(Form::TrainingWideTiles)] {
            let mut gpu = pollster::block_on(GpuBackend::new(&BackendOptions::default())).unwrap();
            let mut case = Case::default();
            let mut outs = Vec::new();
            // The last is timed as a shorter one.
            for [m, n, k] in [[132, 68, 20], [3, 5, 7], [2060, 68, 8]] {
                let out = case.f32(&vec![2.5; m * n]);
                outs.push(out);
                let op = Op::MatMul {
                    a: case.f32(&vec![1.0; m * k]),
                    b: case.f32(&vec![1.0; k * n]),
                    out,
                    m,
                    n,
                    k,
                    trans_a: false,
                    trans_b: true,
                    accumulate: true,
                };
                case.recorder.push(op);
            }
            let program = case.recorder.finish("products");
            let planned = gpu.plan(&[&program]);
            let id = gpu.prepare(program).unwrap();
            for (buffer, bytes) in &case.contents {
                gpu.write(id, *buffer, bytes).unwrap();
            }
            gpu.gpu.forms.planted = planted;
            pollster::block_on(gpu.choose_forms()).unwrap();
            gpu.gpu.forms.planted = None;
            assert_eq!((gpu.programs.len(), gpu.memory()), (1, planned));
            let chosen: Vec<Form> = ["132 x 68 x 20", "2060 x 68 x 8"]
                .iter()
                .map(|size| {
                    let what = format!("f32 product of {size}, right transposed");
                    let offered = [Form::TrainingTiles, Form::TrainingWideTiles];
                    assert!(!gpu.gpu.forms.is_open(&what, &offered), "{what}");
                    gpu.gpu.forms.pick(&what, &offered)
                })
                .collect();
            assert!(planted.is_none_or(|planted| !chosen.contains(&planted)));
            // Nothing was added to but in matrices that are gone.
            let before = pollster::block_on(gpu.read(id, &outs)).unwrap();
            let same = |bytes: &Vec<u8>, value| elements::<f32>(bytes).iter().all(|v| *v == value);
            assert!(before.iter().all(|out| same(out, 2.5)));
            gpu.run(id, &rows(1)).unwrap();
            let after = pollster::block_on(gpu.read(id, &outs)).unwrap();
            for (out, k) in after.iter().zip([20.0, 7.0, 8.0]) {
                assert!(same(out, 2.5 + k));
            }
        }
    });
}

#[test]
fn operands_are_stored_in_what_is_faster() {
    with_gpu(|_| {
        let Some(mut gpu) = rounding_device() else {
            return;
        };
        assert_eq!(gpu.gpu.forms.operands(), Form::OperandsF16);
        pollster::block_on(gpu.choose_operands_of(68)).unwrap();
        let what = crate::gpu::forms::OPERANDS;
        assert!(!gpu.gpu.forms.is_open(what, &Form::OPERANDS));
        assert_eq!((gpu.programs.len(), gpu.memory().total()), (0, 0));
    });
}
