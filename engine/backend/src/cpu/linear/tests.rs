//! The products of every mode and scale against sums in f64 over the codes.

use super::*;
use ternary_core::quant::tile::TileWriter;

/// f32 rounding of a product and of the sums over groups or columns, as a share of Σ|terms|.
/// Integer sums themselves are exact.
const SCALES: f64 = 1e-6;
/// A float sum of up to 640 terms in any order.
const FLOATS: f64 = 1e-5;
/// Output rows: a whole number of tile groups and a ragged last one.
const OUT: usize = 37;

struct Noise(u64);

impl Noise {
    fn below(&mut self, n: i64) -> i64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as i64 % n
    }

    fn float(&mut self) -> f32 {
        (self.below(20_001) - 10_000) as f32 / 10_000.0
    }
}

/// A weight beside its values.
struct Case {
    mode: QuantMode,
    in_dim: usize,
    group: usize,
    data: Vec<u8>,
    scales: Vec<f32>,
    by_four: Vec<[f32; 4]>,
    /// `[OUT, in_dim]`; float weights exactly, codes otherwise.
    plain: Vec<f64>,
}

impl Case {
    fn new(mode: QuantMode, in_dim: usize, group: usize, one_scale: Option<f32>) -> Self {
        let mut noise = Noise(in_dim as u64 * 31 + group as u64);
        let mut tile = TileWriter::new(mode, OUT, in_dim);
        let mut plain = Vec::new();
        for row in 0..OUT {
            if mode == QuantMode::F32 {
                let values: Vec<f32> = (0..in_dim).map(|_| noise.float()).collect();
                tile.row_floats(row, bytemuck::cast_slice(&values));
                plain.extend(values.iter().map(|v| f64::from(*v)));
            } else if mode == QuantMode::F16 {
                let values: Vec<half::f16> = (0..in_dim)
                    .map(|_| half::f16::from_f32(noise.float()))
                    .collect();
                tile.row_floats(row, bytemuck::cast_slice(&values));
                plain.extend(values.iter().map(|v| v.to_f64()));
            } else {
                let codes: Vec<i8> = (0..in_dim)
                    .map(|_| match mode {
                        QuantMode::Ternary => noise.below(3) as i8 - 1,
                        QuantMode::Binary => noise.below(2) as i8 * 2 - 1,
                        _ => (noise.below(255) - 127) as i8,
                    })
                    .collect();
                tile.row(row, &codes);
                plain.extend(codes.iter().map(|c| f64::from(*c)));
            }
        }
        let scales: Vec<f32> = (0..OUT * in_dim / group)
            .map(|_| one_scale.unwrap_or_else(|| 0.01 + noise.float().abs()))
            .collect();
        Case {
            mode,
            in_dim,
            group,
            data: tile.finish(),
            by_four: by_four(&scales, in_dim / group),
            scales: if !mode.is_quantized() {
                Vec::new()
            } else {
                scales
            },
            plain,
        }
    }

    fn view(&self) -> WeightView<'_> {
        WeightView {
            mode: self.mode,
            data: &self.data,
            scales: &self.scales,
            by_four: &self.by_four,
            out_dim: OUT,
            in_dim: self.in_dim,
            group: self.group,
        }
    }

    fn weight(&self, row: usize, col: usize) -> f64 {
        let scale = match self.mode {
            QuantMode::F32 | QuantMode::F16 => 1.0,
            _ => f64::from(self.scales[row * (self.in_dim / self.group) + col / self.group]),
        };
        scale * self.plain[row * self.in_dim + col]
    }

    /// `out` `[rows, OUT]` against Σ w·x for `x` `[rows, in_dim]`.
    fn compare(&self, what: &str, x: &[f64], out: &[f32], tolerance: f64) {
        assert_eq!(out.len() * self.in_dim, x.len() * OUT);
        for (r, (x, out)) in x
            .chunks_exact(self.in_dim)
            .zip(out.chunks_exact(OUT))
            .enumerate()
        {
            for (n, out) in out.iter().enumerate() {
                let terms: Vec<f64> = (0..self.in_dim).map(|c| self.weight(n, c) * x[c]).collect();
                let want: f64 = terms.iter().sum();
                let size: f64 = terms.iter().map(|t| t.abs()).sum();
                assert!(
                    (f64::from(*out) - want).abs() <= tolerance * size,
                    "{what} {} in {} group {} row {r} output {n}: {out}, expected {want}",
                    self.mode,
                    self.in_dim,
                    self.group
                );
            }
        }
    }

    fn check(&self, rows: usize) {
        let mut noise = Noise(rows as u64);
        if self.mode.is_quantized() {
            let stride = act_stride(self.in_dim);
            let mut codes = vec![0i8; rows * stride];
            for line in codes.chunks_exact_mut(stride) {
                for c in &mut line[..self.in_dim] {
                    *c = (noise.below(255) - 127) as i8;
                }
            }
            let scales: Vec<f32> = (0..rows).map(|_| 0.01 + noise.float().abs()).collect();
            let x: Vec<f64> = (0..rows * self.in_dim)
                .map(|i| {
                    let (r, c) = (i / self.in_dim, i % self.in_dim);
                    f64::from(codes[r * stride + c]) * f64::from(scales[r])
                })
                .collect();
            let input = Int8Rows {
                codes: &codes,
                scales: &scales,
            };
            for level in Level::available() {
                // Not zero: every output must be written.
                let mut out = vec![f32::NAN; rows * OUT];
                int8(level, &self.view(), input, &mut out, rows);
                self.compare(level.name(), &x, &out, SCALES);
            }
        }
        let x: Vec<f32> = (0..rows * self.in_dim).map(|_| noise.float()).collect();
        let wide: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
        for level in Level::available() {
            let mut out = vec![f32::NAN; rows * OUT];
            let longer = [&x[..], &[f32::NAN; 7]].concat();
            float(level, &self.view(), &longer, &mut out, rows);
            self.compare(level.name(), &wide, &out, FLOATS);
        }
    }
}

#[test]
fn every_mode_and_scale_gives_the_sum() {
    for in_dim in [320, 384, 640] {
        // Few rows, and panels whose last block has one to four fours of them.
        for rows in [1, 3, 5, 23, 28, 47, 65] {
            for mode in [QuantMode::F32, QuantMode::F16] {
                Case::new(mode, in_dim, in_dim, None).check(rows);
            }
            for mode in [QuantMode::EightBit, QuantMode::Ternary, QuantMode::Binary] {
                for one_scale in [Some(1.0), Some(0.37), None] {
                    Case::new(mode, in_dim, in_dim, one_scale).check(rows);
                }
            }
            // A group may end inside a tile: 128 columns are half a tile of binary weights, 32 a
            // quarter of ternary ones.
            for group in [32, 64, 128, 256] {
                if in_dim % group == 0 {
                    Case::new(QuantMode::Ternary, in_dim, group, None).check(rows);
                    Case::new(QuantMode::Binary, in_dim, group, None).check(rows);
                }
            }
        }
    }
}

#[test]
fn wide_and_ragged_rows_give_the_sum() {
    for mode in [QuantMode::EightBit, QuantMode::Ternary, QuantMode::Binary] {
        for in_dim in [1, 33, 70, 129, 3200] {
            Case::new(mode, in_dim, in_dim, None).check(3);
        }
        for group in [64, 128] {
            if mode != QuantMode::EightBit {
                Case::new(mode, 3200, group, None).check(2);
            }
        }
    }
    for mode in [QuantMode::Ternary, QuantMode::Binary] {
        Case::new(mode, 512, 256, None).check(4);
    }
    for mode in [QuantMode::F32, QuantMode::F16] {
        Case::new(mode, 33, 33, None).check(2);
    }
}

#[test]
#[should_panic(expected = "expected")]
fn a_wrong_sum_is_noticed() {
    let case = Case::new(QuantMode::Ternary, 320, 64, None);
    let x = vec![1.0f32; 320];
    let mut out = vec![0f32; OUT];
    float(Level::best(), &case.view(), &x, &mut out, 1);
    out[5] += 0.1;
    case.compare("float", &[1.0; 320], &out, FLOATS);
}

#[test]
fn every_finite_half_widens_exactly() {
    for bits in 0..=u16::MAX {
        let want = half::f16::from_bits(bits).to_f32();
        if want.is_finite() {
            assert_eq!(math::half(bits).to_bits(), want.to_bits(), "{bits:#x}");
        }
    }
}

/// What a row gives does not depend on the rows beside it, to the bit.
#[test]
fn rows_are_multiplied_each_by_itself() {
    let most = 40;
    let mut noise = Noise(9);
    for (mode, group) in [
        (QuantMode::F32, 256),
        (QuantMode::F16, 256),
        (QuantMode::EightBit, 256),
        (QuantMode::Ternary, 256),
        (QuantMode::Ternary, 64),
        (QuantMode::Binary, 256),
        (QuantMode::Binary, 64),
    ] {
        let case = Case::new(mode, 256, group, None);
        let stride = act_stride(256);
        let codes: Vec<i8> = (0..most * stride)
            .map(|_| (noise.below(255) - 127) as i8)
            .collect();
        let x: Vec<f32> = (0..most * 256).map(|_| noise.float()).collect();
        let scales: Vec<f32> = (0..most).map(|_| 0.01 + noise.float().abs()).collect();
        for level in Level::available() {
            let floats = |first: usize, rows: usize| {
                let mut out = vec![0f32; rows * OUT];
                float(
                    level,
                    &case.view(),
                    &x[first * 256..][..rows * 256],
                    &mut out,
                    rows,
                );
                out
            };
            let integers = |first: usize, rows: usize| {
                let mut out = vec![0f32; rows * OUT];
                let rows_of = Int8Rows {
                    codes: &codes[first * stride..][..rows * stride],
                    scales: &scales[first..],
                };
                int8(level, &case.view(), rows_of, &mut out, rows);
                out
            };
            let check = |of: &dyn Fn(usize, usize) -> Vec<f32>, counts: &[usize]| {
                let alone: Vec<Vec<f32>> = (0..most).map(|r| of(r, 1)).collect();
                for &rows in counts {
                    for (r, row) in of(3, rows).chunks_exact(OUT).enumerate() {
                        assert_eq!(
                            row,
                            alone[3 + r],
                            "{mode}, group {group}, row {r} of {rows}"
                        );
                    }
                }
            };
            check(&floats, &[2, 7, FEW]);
            if mode.is_quantized() {
                check(&integers, &[2, 3, 7, 16, 17, 37]);
            }
        }
    }
}

#[test]
fn products_of_one_row_are_the_same_together() {
    let cases = [
        Case::new(QuantMode::Ternary, 640, 640, None),
        Case::new(QuantMode::Ternary, 640, 128, None),
        Case::new(QuantMode::EightBit, 640, 640, None),
    ];
    let mut noise = Noise(3);
    let mut codes = vec![0i8; act_stride(640)];
    codes[..640].fill_with(|| (noise.below(255) - 127) as i8);
    let x = Int8Rows {
        codes: &codes,
        scales: &[0.03],
    };
    for level in Level::available() {
        let alone = cases.each_ref().map(|case| {
            let mut out = vec![0f32; OUT];
            int8(level, &case.view(), x, &mut out, 1);
            out
        });
        let mut together = [(); 3].map(|()| vec![f32::NAN; OUT]);
        let out = together.each_mut().map(|out| &mut out[..]);
        int8_each(level, cases.each_ref().map(Case::view), x, out);
        assert_eq!(together, alone, "{}", level.name());
    }
}
