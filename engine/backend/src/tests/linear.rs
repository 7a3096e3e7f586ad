//! Matrix products and embedding look-ups.

use super::compare::{SUMS, assert_close};
use super::*;
use crate::gpu::forms::{Form, Shape};
use ternary_model::program::{EmbedTable, LinearInput, Weight};

const INTEGER_MODES: [QuantMode; 3] = [QuantMode::Ternary, QuantMode::Binary, QuantMode::EightBit];

/// (out, in): every ragged size on both sides.
const SHAPES: [(usize, usize); 5] = [(1, 1), (3, 65), (65, 257), (257, 3), (9, 640)];

/// What the codes and activations are filled with.
#[derive(Clone, Copy, Debug)]
enum Fill {
    Noise,
    Zeros,
    Saturated,
}

struct Product {
    mode: QuantMode,
    rows: usize,
    out_dim: usize,
    in_dim: usize,
    group: usize,
    codes: Vec<Vec<i8>>,
    scales: Vec<f32>,
    x: Vec<Vec<i8>>,
    row_scales: Vec<f32>,
}

impl Product {
    fn new(
        mode: QuantMode,
        rows: usize,
        out_dim: usize,
        in_dim: usize,
        group: usize,
        fill: Fill,
    ) -> Self {
        let mut noise = Noise((rows * 31 + out_dim * 7 + in_dim) as u64);
        let largest = if mode == QuantMode::EightBit { 127 } else { 1 };
        let codes = (0..out_dim)
            .map(|r| match fill {
                Fill::Noise => noise.codes(mode, in_dim),
                Fill::Zeros if mode != QuantMode::Binary => vec![0; in_dim],
                _ => vec![if r % 2 == 0 { largest } else { -largest }; in_dim],
            })
            .collect();
        let x = (0..rows)
            .map(|_| match fill {
                Fill::Noise => noise.codes(QuantMode::EightBit, in_dim),
                Fill::Zeros => vec![0; in_dim],
                Fill::Saturated => vec![-127; in_dim],
            })
            .collect();
        let positive = |v: f32| v.abs() + 0.01;
        Product {
            mode,
            rows,
            out_dim,
            in_dim,
            group,
            codes,
            x,
            scales: (0..out_dim * in_dim / group)
                .map(|_| positive(noise.unit()))
                .collect(),
            row_scales: (0..rows).map(|_| positive(noise.unit())).collect(),
        }
    }

    fn weight(&self, case: &mut Case) -> Weight {
        Weight {
            mode: self.mode,
            data: case.tiles(self.mode, &self.codes),
            scales: Some(case.f32(&self.scales)),
            out_dim: self.out_dim,
            in_dim: self.in_dim,
            group: self.group,
        }
    }

    fn int8(&self, gpu: &mut GpuBackend, active: usize) -> Vec<f32> {
        let mut case = Case::default();
        let out = case.out(self.rows * self.out_dim);
        let op = Op::Linear {
            input: LinearInput::Int8 {
                codes: case.codes(&self.x),
                scales: case.f32(&self.row_scales),
            },
            weight: self.weight(&mut case),
            out,
            rows: self.rows,
        };
        case.run(gpu, op, &rows(active), out)
    }

    fn float(&self, gpu: &mut GpuBackend, x: &[f32]) -> Vec<f32> {
        let mut case = Case::default();
        let (weight, _) = float_weight(self, &mut case);
        let out = case.out(self.rows * self.out_dim);
        let op = Op::Linear {
            input: LinearInput::Float(case.f32(x)),
            weight,
            out,
            rows: self.rows,
        };
        case.run(gpu, op, &rows(self.rows), out)
    }

    /// Names of the forms that the device has for it.
    fn forms(&self, gpu: &GpuBackend, int8: bool) -> Vec<&'static str> {
        let shape = Shape {
            int8,
            raw: false,
            mode: self.mode,
            rows: self.rows,
            out_dim: self.out_dim,
            in_dim: self.in_dim,
            group: self.group,
        };
        let offered = gpu.gpu.forms.offered(&shape);
        offered.into_iter().map(Form::name).collect()
    }

    /// The product with one of its rows of activations.
    fn of_row(&self, r: usize) -> Product {
        Product {
            rows: 1,
            codes: self.codes.clone(),
            scales: self.scales.clone(),
            x: vec![self.x[r].clone()],
            row_scales: vec![self.row_scales[r]],
            ..*self
        }
    }

    /// Σ code·x of a group of columns.
    fn sum(&self, r: usize, row: usize, group: usize) -> i64 {
        let columns = group * self.group..(group + 1) * self.group;
        columns
            .map(|c| i64::from(self.codes[row][c]) * i64::from(self.x[r][c]))
            .sum()
    }
}

impl Product {
    /// Run `test` in every form that the device has for this product.
    fn in_every_form(
        &self,
        gpu: &mut GpuBackend,
        int8: bool,
        test: impl Fn(&mut GpuBackend, &str),
    ) {
        for form in self.forms(gpu, int8) {
            gpu.gpu.forms.force(form).unwrap();
            test(gpu, form);
        }
        gpu.gpu.forms.force("").unwrap();
    }
}

#[test]
fn integer_products_are_exact() {
    with_gpu(|gpu| {
        for rows in [1, 3, 65] {
            integers_are_exact(gpu, &SHAPES, rows);
        }
    });
}

/// Products of every mode in every form.
pub(super) fn integers_are_exact(gpu: &mut GpuBackend, shapes: &[(usize, usize)], rows: usize) {
    for mode in INTEGER_MODES {
        for &(out_dim, in_dim) in shapes {
            let p = Product::new(mode, rows, out_dim, in_dim, in_dim, Fill::Noise);
            // The same two f32 products: no tolerance.
            let exact = |r, row| p.sum(r, row, 0) as f32 * p.scales[row] * p.row_scales[r];
            let want: Vec<f32> = (0..rows * out_dim)
                .map(|i| exact(i / out_dim, i % out_dim))
                .collect();
            p.in_every_form(gpu, true, |gpu, form| {
                let what = format!("{form}: {mode} {rows}×{out_dim}×{in_dim}");
                assert_eq!(p.int8(gpu, rows), want, "{what}");
            });
        }
    }
}

#[test]
fn zeros_and_saturated_products_are_exact() {
    with_gpu(|gpu| {
        for mode in INTEGER_MODES {
            for rows in [1, 3, 9] {
                for fill in [Fill::Zeros, Fill::Saturated] {
                    let mut p = Product::new(mode, rows, 5, 2560, 2560, fill);
                    p.scales.fill(1.0);
                    p.row_scales.fill(1.0);
                    let want: Vec<f32> = (0..rows * 5)
                        .map(|i| p.sum(i / 5, i % 5, 0) as f32)
                        .collect();
                    p.in_every_form(gpu, true, |gpu, form| {
                        assert_eq!(p.int8(gpu, rows), want, "{form}: {mode} {fill:?}");
                    });
                }
            }
        }
    });
}

#[test]
fn groups_have_their_own_scales() {
    with_gpu(|gpu| {
        for mode in INTEGER_MODES {
            for group in [32, 64, 128, 256] {
                for rows in [1, 3, 9] {
                    let p = Product::new(mode, rows, 65, 768, group, Fill::Noise);
                    let groups = 768 / group;
                    let want: Vec<f64> = (0..rows * 65)
                        .map(|i| {
                            let (r, row) = (i / 65, i % 65);
                            let sum: f64 = (0..groups)
                                .map(|g| {
                                    f64::from(p.scales[row * groups + g]) * p.sum(r, row, g) as f64
                                })
                                .sum();
                            sum * f64::from(p.row_scales[r])
                        })
                        .collect();
                    p.in_every_form(gpu, true, |gpu, form| {
                        let what = format!("{form}: {mode}/{group}");
                        assert_close(&what, &p.int8(gpu, rows), &want, SUMS);
                    });
                }
            }
        }
    });
}

#[test]
fn rows_beyond_the_knobs_are_left_alone() {
    with_gpu(|gpu| {
        for rows in [5, 70] {
            rows_beyond_are_left_alone(gpu, rows);
        }
    });
}

/// A product of `rows` rows where fewer are asked for, in every form.
pub(super) fn rows_beyond_are_left_alone(gpu: &mut GpuBackend, rows: usize) {
    let p = Product::new(QuantMode::Ternary, rows, 9, 65, 65, Fill::Noise);
    p.in_every_form(gpu, true, |gpu, form| {
        let all = p.int8(gpu, rows);
        for active in [0, 1, rows.saturating_sub(6), rows - 1] {
            let got = p.int8(gpu, active);
            assert_eq!(got[..active * 9], all[..active * 9], "{form}");
            let rest = &got[active * 9..];
            assert!(rest.iter().all(|v| *v == 0.0), "{form}: {active} rows");
        }
    });
}

#[test]
fn float_products_follow_f64() {
    with_gpu(|gpu| {
        for mode in QuantMode::ALL {
            for (out_dim, in_dim) in SHAPES {
                for rows_n in [1, 3, 65] {
                    let group = if in_dim == 640 && mode.is_quantized() {
                        128
                    } else {
                        in_dim
                    };
                    let p = Product::new(mode, rows_n, out_dim, in_dim, group, Fill::Noise);
                    let x = Noise(in_dim as u64).floats(rows_n * in_dim, 2.0);
                    let (_, values) = float_weight(&p, &mut Case::default());
                    let got = p.float(gpu, &x);
                    let want: Vec<f64> = (0..rows_n * out_dim)
                        .map(|i| {
                            let x = &x[i / out_dim * in_dim..][..in_dim];
                            let w = &values[i % out_dim];
                            x.iter().zip(w).map(|(x, w)| f64::from(*x) * w).sum()
                        })
                        .collect();
                    assert_close(
                        &format!("{mode} {rows_n}×{out_dim}×{in_dim}"),
                        &got,
                        &want,
                        SUMS,
                    );
                }
            }
        }
    });
}

/// A choice of form is never seen in the results, and a draft's tokens are verified by what they
/// would be decoded with.
#[test]
fn a_few_rows_give_the_bits_of_each_alone_in_every_form() {
    with_gpu(|gpu| {
        let (out_dim, in_dim) = (37, 768);
        for mode in QuantMode::ALL {
            let most = Product::new(mode, 8, out_dim, in_dim, 128, Fill::Noise);
            let x = Noise(4).floats(8 * in_dim, 2.0);
            let alone: Vec<Product> = (0..8).map(|r| most.of_row(r)).collect();
            let floats = |r: usize| &x[r * in_dim..][..in_dim];
            let float: Vec<f32> = (0..8)
                .flat_map(|r| alone[r].float(gpu, floats(r)))
                .collect();
            let int8: Vec<f32> = match mode.is_quantized() {
                true => alone.iter().flat_map(|p| p.int8(gpu, 1)).collect(),
                false => Vec::new(),
            };
            for rows_n in [1, 2, 5, 8] {
                let few = Product {
                    rows: rows_n,
                    codes: most.codes.clone(),
                    scales: most.scales.clone(),
                    x: most.x[..rows_n].to_vec(),
                    row_scales: most.row_scales[..rows_n].to_vec(),
                    ..most
                };
                for int8_input in [false, true] {
                    let (want, offered) = match int8_input {
                        true => (&int8, few.forms(gpu, true)),
                        false => (&float, few.forms(gpu, false)),
                    };
                    if want.is_empty() {
                        continue;
                    }
                    for form in offered {
                        gpu.gpu.forms.force(form).unwrap();
                        let got = match int8_input {
                            true => few.int8(gpu, rows_n),
                            false => few.float(gpu, &x[..rows_n * in_dim]),
                        };
                        let want = &want[..rows_n * out_dim];
                        assert!(got == want, "{form}: {mode}, {rows_n} rows");
                    }
                    gpu.gpu.forms.force("").unwrap();
                }
            }
        }
    });
}

/// The weight of a product and its values.
fn float_weight(p: &Product, case: &mut Case) -> (Weight, Vec<Vec<f64>>) {
    if !p.mode.is_quantized() {
        let mut noise = Noise(5);
        let mut value = || match p.mode {
            QuantMode::F32 => noise.unit(),
            _ => f16::from_f32(noise.unit()).to_f32(),
        };
        let rows: Vec<Vec<f32>> = (0..p.out_dim)
            .map(|_| (0..p.in_dim).map(|_| value()).collect())
            .collect();
        let weight = Weight {
            data: case.floats(p.mode, &rows),
            scales: None,
            ..p.weight_shape()
        };
        let wide = |row: &Vec<f32>| row.iter().map(|v| f64::from(*v)).collect();
        return (weight, rows.iter().map(wide).collect());
    }
    let groups = p.in_dim / p.group;
    let values = p
        .codes
        .iter()
        .enumerate()
        .map(|(row, codes)| {
            let scale = |c: usize| f64::from(p.scales[row * groups + c / p.group]);
            codes
                .iter()
                .enumerate()
                .map(|(c, v)| f64::from(*v) * scale(c))
                .collect()
        })
        .collect();
    (p.weight(case), values)
}

impl Product {
    fn weight_shape(&self) -> Weight {
        Weight {
            mode: self.mode,
            data: BufferId(0),
            scales: None,
            out_dim: self.out_dim,
            in_dim: self.in_dim,
            group: self.group,
        }
    }
}

#[test]
fn embeddings_are_copied() {
    with_gpu(|gpu| {
        for dim in RAGGED {
            let vocab = 7;
            let ids = [6u32, 0, 3, 3, 5];
            for mode in std::iter::once(None).chain(QuantMode::ALL.map(Some)) {
                let mut case = Case::default();
                let (table, values) = match mode {
                    None => {
                        let values = Noise(1).floats(vocab * dim, 1.0);
                        let rows = values
                            .chunks(dim)
                            .map(|r| r.iter().map(|v| f64::from(*v)).collect());
                        (EmbedTable::Float(case.f32(&values)), rows.collect())
                    }
                    Some(mode) => {
                        let p = Product::new(mode, 1, vocab, dim, dim, Fill::Noise);
                        let (weight, values) = float_weight(&p, &mut case);
                        (EmbedTable::Weight(weight), values)
                    }
                };
                let out = case.out(ids.len() * dim);
                let op = Op::Embed {
                    ids: case.u32(&ids),
                    table,
                    out,
                    scale: 1.0,
                    rows: ids.len(),
                    dim,
                };
                let got = case.run(gpu, op, &rows(4), out);
                let values: Vec<Vec<f64>> = values;
                let mut want: Vec<f32> = ids[..4]
                    .iter()
                    .flat_map(|id| values[*id as usize].iter().map(|v| *v as f32))
                    .collect();
                want.resize(ids.len() * dim, 0.0);
                assert_eq!(got, want, "{mode:?}, dim {dim}");
            }
        }
    });
}

#[test]
fn matrices_beyond_the_binding_limit_are_bound_in_parts() {
    with_gpu(|gpu| {
        let p = Product::new(QuantMode::Ternary, 1, 1025, 257, 257, Fill::Noise);
        let many = Product::new(QuantMode::EightBit, 3, 1025, 65, 65, Fill::Noise);
        let table = Noise(2).floats(1025 * 65, 1.0);
        let look_up = |gpu: &mut GpuBackend| {
            let mut case = Case::default();
            let out = case.out(4 * 65);
            let op = Op::Embed {
                ids: case.u32(&[1024, 0, 300, 64]),
                table: EmbedTable::Float(case.f32(&table)),
                out,
                scale: 1.0,
                rows: 4,
                dim: 65,
            };
            case.run(gpu, op, &rows(4), out)
        };
        let whole = (p.int8(gpu, 1), many.int8(gpu, 3), look_up(gpu));
        let limit = std::mem::replace(&mut gpu.gpu.max_binding, 20_000);
        let parts = (p.int8(gpu, 1), many.int8(gpu, 3), look_up(gpu));
        gpu.gpu.max_binding = 1000;
        let mut case = Case::default();
        let out = case.out(3);
        let op = Op::Embed {
            ids: case.u32(&[1]),
            table: EmbedTable::Float(case.f32(&table)),
            out,
            scale: 1.0,
            rows: 1,
            dim: 65,
        };
        let refused = case.try_run(gpu, op, &rows(1), &[out]);
        gpu.gpu.max_binding = limit;
        assert_eq!(parts, whole);
        assert!(
            matches!(refused, Err(BackendError::OutOfMemory { .. })),
            "{refused:?}"
        );
    });
}

/// An embedding of 128256 tokens, tied to the head, in every mode, where a binding takes a part of
/// it.
#[test]
fn large_vocabularies_are_looked_up_and_multiplied_in_parts() {
    let (vocab, dim) = (128_256, 40);
    with_gpu(|gpu| {
        for mode in QuantMode::ALL {
            let p = Product::new(mode, 1, vocab, dim, dim, Fill::Noise);
            let x = Noise(3).floats(3 * dim, 2.0);
            let ids = [0u32, 31_999, 64_000, 128_255];
            let mut case = Case::default();
            let (_, values) = float_weight(&p, &mut case);
            let run = |gpu: &mut GpuBackend, rows_n: usize| {
                let mut case = Case::default();
                let (weight, _) = float_weight(&p, &mut case);
                let out = case.out(rows_n * vocab);
                let op = Op::Linear {
                    input: LinearInput::Float(case.f32(&x[..rows_n * dim])),
                    weight,
                    out,
                    rows: rows_n,
                };
                let logits = case.run(gpu, op, &rows(rows_n), out);
                let mut case = Case::default();
                let (weight, _) = float_weight(&p, &mut case);
                let out = case.out(ids.len() * dim);
                let op = Op::Embed {
                    ids: case.u32(&ids),
                    table: EmbedTable::Weight(weight),
                    out,
                    scale: 1.0,
                    rows: ids.len(),
                    dim,
                };
                (logits, case.run(gpu, op, &rows(ids.len()), out))
            };
            let whole = (run(gpu, 1), run(gpu, 3));
            let limit = std::mem::replace(&mut gpu.gpu.max_binding, 3 << 20);
            let parts = (run(gpu, 1), run(gpu, 3));
            gpu.gpu.max_binding = limit;
            assert!(parts == whole, "{mode}");
            let want: Vec<f64> = values
                .iter()
                .map(|w| x[..dim].iter().zip(w).map(|(x, w)| f64::from(*x) * w).sum())
                .collect();
            assert_close(&format!("{mode} head"), &parts.0.0, &want, SUMS);
            for (row, id) in parts.0.1.chunks(dim).zip(ids) {
                let want: Vec<f32> = values[id as usize].iter().map(|v| *v as f32).collect();
                assert_eq!(row, want, "{mode}");
            }
        }
    });
}
