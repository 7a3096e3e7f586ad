//! Products of gradients, floats times codes, as sums of integers:
//! `out[i, j] (+)= Σ_k a[i, k]·s_k·code[k, j]`, where the scales `s_k` run along k, so that a float
//! with its scale, v = α·a·s, is what is cut.
//!
//! For each line i and each block of 512 k, v becomes an integer of sixteen bits,
//! q = round(v·32639/M) with M = max|v| of the block, and this two bytes, q = 256·q₁ + q₀ (both
//! signed). Sums of either byte with the codes are exact, and so is what they make together:
//! |Σ q·code| ≤ 512·32639·127 < 2³¹. A block adds Σ q·code · M/32639 to the output: it is off by at
//! most M/65278 for every v, that is by 2⁻¹⁵·M·Σ|s·code| at the very most.
//!
//! Two instructions of 64 products take the place of four with 16 floats: twice the speed of f32.
//!
//! Packing: codes are panels of sixteen columns, `[k / 4][16]` words of four k; lines are panels of
//! sixteen, likewise, one for each byte. Ragged ends are zeros. See [`int::panel`].

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use super::codes::{SMALLEST, suits};
#[cfg(target_arch = "x86_64")]
use super::int;
use super::int::panel::{self, ROWS, Sums};
use super::matmul::{Precision, Product, View};
use super::simd::{Level, multiversion};
use ternary_common::platform::par;
use ternary_core::config::QuantMode;
use ternary_core::math;

/// k of a block.
const BLOCK: usize = 512;
/// k of a word.
const WORD: usize = 4;
/// Columns whose words are turned at once, see [`panel::turn`].
const TURNED: usize = 32;
/// Panels of codes that are packed together: their rows' stretches are as long as 16 cache lines.
const TOGETHER: usize = 16;
/// Most panels of lines of a unit of work, packed together for the same reason.
const BAND: usize = 4;
/// Largest integer of two signed bytes whose upper one is at most 127: 127·256 + 127.
const LARGEST: f32 = 32639.0;
/// Smaller numbers than this count as zero: the inverse of their scale would not be finite.
const SMALLEST_MAGNITUDE: f32 = 1e-32;

thread_local! {
    /// Memory of a thread's last products, see [`panel::with_memory`].
    static CODES: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    static LINES: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

/// The product into contiguous `out`, if that is how it is done at this level; whether it was.
pub fn product(level: Level, p: &Product, out: &mut [f32]) -> bool {
    let (m, n, k) = p.sizes();
    let [_, Some(scales)] = p.exactness.scales else {
        return false;
    };
    let lies_right = p.b.cs == 1 && (p.a.cs == 1 || p.a.rs == 1);
    if p.exactness.precision != Precision::Gradient
        || !suits(level)
        || !lies_right
        || m.min(n).min(k) < SMALLEST
    {
        return false;
    }
    let scale_of = |k: usize| match scales {
        [one] => *one,
        scales => scales[k],
    };
    for first in (0..k).step_by(BLOCK) {
        let depth = (k - first).min(BLOCK);
        let of_k: Vec<f32> = (first..first + depth).map(scale_of).collect();
        block(level, p, first, &of_k, out);
    }
    true
}

/// What the block of k from `first` on, whose scales are `scales`, adds to `out`.
fn block(level: Level, p: &Product, first: usize, scales: &[f32], out: &mut [f32]) {
    let (_, n, _) = p.sizes();
    let depth = scales.len();
    // Whole chunks of `turn`.
    let padded = depth.next_multiple_of(TURNED);
    let words = padded / WORD * ROWS;
    let work = par::work(p.sizes().into()) / p.a.cols.div_ceil(BLOCK);
    let inverses: Vec<f32> = scales.iter().map(|s| inverse(*s)).collect();
    let factors: Vec<f32> = scales.iter().map(|s| s * p.alpha).collect();
    let accumulate = p.accumulate || first > 0;
    panel::with_memory(&CODES, n.div_ceil(ROWS) * words, |codes: &mut [u32]| {
        let finite = AtomicBool::new(true);
        par::pieces(codes, TOGETHER * words, n * depth, |i, panels| {
            let all = pack_codes(
                level,
                p.b,
                first,
                i * TOGETHER * ROWS,
                &inverses,
                words,
                panels,
            );
            finite.fetch_and(all, Ordering::Relaxed);
        });
        // No code stands for what is not finite.
        if !finite.into_inner() {
            return out.fill(f32::NAN);
        }
        let codes = &*codes;
        // At least eight bands where there are lines enough, to keep threads level; the same
        // whatever their number.
        let band = (p.a.rows.div_ceil(ROWS) / 8).clamp(1, BAND);
        par::pieces(out, band * ROWS * n, work, |i, out| {
            let count = (out.len() / n).div_ceil(ROWS);
            panel::with_memory(&LINES, count * 2 * words, |lines: &mut [u32]| {
                let cuts = Cut::all(level, p.a, first, i * band * ROWS, &factors, lines, words);
                for (cut, out) in cuts.iter().zip(out.chunks_mut(ROWS * n)) {
                    for (j, codes) in codes.chunks_exact(words).enumerate() {
                        cut.multiply(level, codes, j * ROWS, accumulate, out, n);
                    }
                }
            });
        });
    });
}

/// 1/s, or 0 where there is nothing to divide by.
fn inverse(scale: f32) -> f32 {
    if scale.abs() < SMALLEST_MAGNITUDE {
        0.0
    } else {
        1.0 / scale
    }
}

/// The codes of panels of `words` from `column` on, in rows `first..` of `b`, divided by their
/// scales; unsigned ones where the level's instruction wants those. Whether all were finite.
fn pack_codes(
    level: Level,
    b: View,
    first: usize,
    column: usize,
    inverses: &[f32],
    words: usize,
    panels: &mut [u32],
) -> bool {
    let flip = if panel::flips(level) { 0x8080_8080 } else { 0 };
    let rows = Rows {
        data: &b.data[first * b.rs + column..],
        stride: b.rs,
        count: inverses.len(),
        live: b.cols - column,
    };
    code_words(
        &rows,
        inverses,
        flip,
        words / ROWS,
        panels.as_chunks_mut().0,
    )
}

/// Stretches of some rows.
struct Rows<'a> {
    data: &'a [f32],
    /// From one row to the next.
    stride: usize,
    count: usize,
    /// How many values of each there are.
    live: usize,
}

impl<'a> Rows<'a> {
    /// Sixteen values of row `i` from `at` on, where they lie or, at the ends, in `end` with zeros
    /// behind.
    #[inline(always)]
    fn row(&self, i: usize, at: usize, end: &'a mut [f32; ROWS]) -> &'a [f32; ROWS] {
        if i >= self.count {
            return end;
        }
        let row = &self.data[i * self.stride + at..];
        match row.first_chunk() {
            Some(whole) if self.live >= at + ROWS => whole,
            _ => {
                let live = self.live - at;
                end[..live].copy_from_slice(&row[..live]);
                end
            }
        }
    }

    /// The same of rows `first..first + 4`.
    #[inline(always)]
    fn four(
        &self,
        first: usize,
        at: usize,
        ends: &'a mut [[f32; ROWS]; WORD],
    ) -> [&'a [f32; ROWS]; WORD] {
        let [a, b, c, d] = ends;
        let row = |i, end| self.row(first + i, at, end);
        [row(0, a), row(1, b), row(2, c), row(3, d)]
    }
}

/// Four values from `first` on, zeros past the last.
#[inline(always)]
fn of_four(values: &[f32], first: usize) -> [f32; WORD] {
    let value = |i| values.get(first + i).copied().unwrap_or_default();
    std::array::from_fn(value)
}

multiversion! {
    /// Words of codes of panels of `steps` steps, all panels' step by step as memory has them:
    /// `inverses` of the rows' scales, and what words are xored with. Whether all values are finite.
    fn code_words(rows: &Rows, inverses: &[f32], flip: u32, steps: usize, panels: &mut [[u32; ROWS]]) -> bool {
        let mut largest = [0u32; ROWS];
        for step in 0..steps {
            let inverses = of_four(inverses, step * WORD);
            for (p, panel) in panels.chunks_exact_mut(steps).enumerate() {
                let mut ends = [[0f32; ROWS]; WORD];
                let four = rows.four(step * WORD, p * ROWS, &mut ends);
                let mut all = [flip; ROWS];
                for i in 0..WORD {
                    for l in 0..ROWS {
                        let code = math::rounded(four[i][l] * inverses[i]) as u32 & 0xff;
                        all[l] ^= code << (8 * i);
                        largest[l] = largest[l].max(math::magnitude(four[i][l]));
                    }
                }
                panel[step] = all;
            }
        }
        largest.iter().all(|bits| f32::from_bits(*bits).is_finite())
    }
}

/// Sixteen lines of a block, cut into bytes.
struct Cut<'a> {
    /// Of the upper bytes, then of the lower ones.
    panels: [&'a [u32]; 2],
    known: Known,
}

/// What is known of sixteen lines.
struct Known {
    /// M/32639 of every line; NaN where a value is not finite.
    scales: [f32; ROWS],
    /// Σ q of every line, for codes that were made unsigned.
    sums: [i32; ROWS],
}

/// Lines whose neighbors in memory are neighbors in k.
fn along(
    level: Level,
    lines: View,
    first: usize,
    factors: &[f32],
    upper: &mut [u32],
    lower: &mut [u32],
) -> Known {
    let mut known = Known {
        scales: [0.0; ROWS],
        sums: [0; ROWS],
    };
    let [mut uppers, mut lowers] = [[[0u8; BLOCK]; ROWS]; 2];
    for l in 0..lines.rows {
        let values = &lines.data[l * lines.rs + first..][..factors.len()];
        let (scale, inverse) = scale_of(largest_along(values, factors));
        known.scales[l] = scale;
        known.sums[l] = cut_along(values, factors, inverse, &mut uppers[l], &mut lowers[l]);
    }
    for (panel, bytes) in [(upper, &uppers), (lower, &lowers)] {
        for (c, chunk) in panel.chunks_exact_mut(TURNED / WORD * ROWS).enumerate() {
            let rows = bytes.each_ref().map(|row| &row.as_chunks::<TURNED>().0[c]);
            panel::turn(level, rows, 32, chunk);
        }
    }
    known
}

/// Lines that are neighbors in memory, sixteen for every pair of panels.
fn across(rows: &Rows, factors: &[f32], panels: &mut [(&mut [u32], &mut [u32])]) -> Vec<Known> {
    let mut largest = [[0u32; ROWS]; BAND];
    let largest = &mut largest[..panels.len()];
    largest_across(rows, factors, largest);
    let (mut known, mut inverses) = (Vec::new(), [[0f32; ROWS]; BAND]);
    for (largest, inverses) in largest.iter().zip(&mut inverses) {
        let of_lines = largest.map(scale_of);
        *inverses = of_lines.map(|(_, inverse)| inverse);
        known.push(Known {
            scales: of_lines.map(|(scale, _)| scale),
            sums: [0; ROWS],
        });
    }
    cut_across(rows, factors, &inverses, panels, &mut known);
    known
}

impl<'a> Cut<'a> {
    /// Lines `line..` of `a`, columns `first..`, times the columns' factors: as many as `memory` has
    /// room for, two panels of `words` for sixteen.
    fn all(
        level: Level,
        a: View,
        first: usize,
        line: usize,
        factors: &[f32],
        memory: &'a mut [u32],
        words: usize,
    ) -> Vec<Self> {
        let mut panels: Vec<_> = memory
            .chunks_exact_mut(2 * words)
            .map(|both| both.split_at_mut(words))
            .collect();
        let known = if a.cs == 1 {
            let of = |(i, (upper, lower)): (usize, &mut (&mut [u32], &mut [u32]))| {
                let view = a.band(line + i * ROWS, (a.rows - line - i * ROWS).min(ROWS));
                along(level, view, first, factors, upper, lower)
            };
            panels.iter_mut().enumerate().map(of).collect()
        } else {
            let rows = Rows {
                data: &a.data[first * a.cs + line..],
                stride: a.cs,
                count: factors.len(),
                live: a.rows - line,
            };
            across(&rows, factors, &mut panels)
        };
        let of = |(panels, known): ((&'a mut [u32], &'a mut [u32]), Known)| Cut {
            panels: [panels.0, panels.1],
            known,
        };
        panels.into_iter().zip(known).map(of).collect()
    }

    /// The products with a panel of codes, into `out`'s columns from `column` on of lines `n` long.
    fn multiply(
        &self,
        level: Level,
        codes: &[u32],
        column: usize,
        accumulate: bool,
        out: &mut [f32],
        n: usize,
    ) {
        // The sums are written a microsecond from now: have their cache lines here by then.
        #[cfg(target_arch = "x86_64")]
        for line in out.chunks(n) {
            // SAFETY: every x86-64 processor has SSE.
            unsafe { int::x86::prefetch_write(&line[column]) };
        }
        let [mut upper, mut lower] = [[[0i32; ROWS]; ROWS]; 2];
        let [of_upper, of_lower] = self.panels;
        panel::words(level, QuantMode::EightBit, codes, of_upper, &mut upper);
        panel::words(level, QuantMode::EightBit, codes, of_lower, &mut lower);
        let offset = if panel::flips(level) { 128 } else { 0 };
        let corrections = self.known.sums.map(|sum| sum.wrapping_mul(offset));
        let out = Corner {
            data: &mut out[column..],
            stride: n,
            columns: (n - column).min(ROWS),
        };
        join(
            &upper,
            &lower,
            &corrections,
            &self.known.scales,
            accumulate,
            out,
        );
    }
}

/// Up to sixteen columns of up to sixteen lines.
struct Corner<'a> {
    data: &'a mut [f32],
    /// From one line to the next.
    stride: usize,
    columns: usize,
}

/// M/32639 and its inverse, of the bits of M: as bits, infinities and NaN are larger than all
/// numbers.
fn scale_of(largest: u32) -> (f32, f32) {
    let largest = f32::from_bits(largest);
    if !largest.is_finite() {
        (f32::NAN, 0.0)
    } else if largest < SMALLEST_MAGNITUDE {
        (0.0, 0.0)
    } else {
        (largest / LARGEST, LARGEST / largest)
    }
}

/// q, its upper byte and its lower one, q = 256·upper + lower, of a number of at most [`LARGEST`].
#[inline(always)]
fn bytes_of(x: f32) -> (i32, u32, u32) {
    let q = math::rounded(x);
    let upper = q.wrapping_add(128) >> 8;
    (q, upper as u32 & 0xff, q as u32 & 0xff)
}

multiversion! {
    fn largest_along(values: &[f32], factors: &[f32]) -> u32 {
        let mut largest = 0;
        for (v, f) in values.iter().zip(factors) {
            largest = largest.max(math::magnitude(v * f));
        }
        largest
    }
}

multiversion! {
    /// Bytes of a line's values; answers Σ q.
    fn cut_along(values: &[f32], factors: &[f32], inverse: f32, upper: &mut [u8; BLOCK], lower: &mut [u8; BLOCK]) -> i32 {
        let mut sum = 0i32;
        let bytes = upper.iter_mut().zip(lower);
        for ((v, f), (to_upper, to_lower)) in values.iter().zip(factors).zip(bytes) {
            let (q, upper, lower) = bytes_of(v * f * inverse);
            (*to_upper, *to_lower) = (upper as u8, lower as u8);
            sum = sum.wrapping_add(q);
        }
        sum
    }
}

multiversion! {
    /// The bits of the largest |v| of lines whose values are `rows`.
    fn largest_across(rows: &Rows, factors: &[f32], largest: &mut [[u32; ROWS]]) {
        // A few k of all lines, then the next: what is near in memory is read together.
        for (c, factors) in factors.chunks(TURNED).enumerate() {
            for (i, largest) in largest.iter_mut().enumerate() {
                let mut all = *largest;
                for (k, factor) in factors.iter().enumerate() {
                    let mut end = [0f32; ROWS];
                    let row = rows.row(c * TURNED + k, i * ROWS, &mut end);
                    for l in 0..ROWS {
                        all[l] = all[l].max(math::magnitude(row[l] * factor));
                    }
                }
                *largest = all;
            }
        }
    }
}

multiversion! {
    /// Words of lines whose values are `rows`, all panels' step by step as memory has them.
    fn cut_across(rows: &Rows, factors: &[f32], inverses: &[[f32; ROWS]; BAND], panels: &mut [(&mut [u32], &mut [u32])], known: &mut [Known]) {
        let steps = factors.len().next_multiple_of(TURNED) / WORD;
        for step in 0..steps {
            let factors = of_four(factors, step * WORD);
            for (i, ((upper, lower), known)) in panels.iter_mut().zip(&mut *known).enumerate() {
                let inverses = &inverses[i];
                let mut ends = [[0f32; ROWS]; WORD];
                let four = rows.four(step * WORD, i * ROWS, &mut ends);
                let [mut uppers, mut lowers] = [[0u32; ROWS]; 2];
                let mut sums = known.sums;
                for i in 0..WORD {
                    for l in 0..ROWS {
                        let (q, upper, lower) = bytes_of(four[i][l] * factors[i] * inverses[l]);
                        uppers[l] |= upper << (8 * i);
                        lowers[l] |= lower << (8 * i);
                        sums[l] = sums[l].wrapping_add(q);
                    }
                }
                upper.as_chunks_mut().0[step] = uppers;
                lower.as_chunks_mut().0[step] = lowers;
                known.sums = sums;
            }
        }
    }
}

multiversion! {
    /// `out (+)= scale · (256·upper + lower − correction)` of every line; the sum is below 2³¹,
    /// whatever its parts.
    fn join(upper: &[Sums; ROWS], lower: &[Sums; ROWS], corrections: &[i32; ROWS], scales: &[f32; ROWS], accumulate: bool, out: Corner) {
        for (l, line) in out.data.chunks_mut(out.stride).enumerate() {
            let value = |c: usize| {
                let sum = upper[l][c].wrapping_shl(8).wrapping_add(lower[l][c]);
                scales[l] * sum.wrapping_sub(corrections[l]) as f32
            };
            match line.first_chunk_mut::<ROWS>() {
                Some(line) if out.columns == ROWS => {
                    for (c, to) in line.iter_mut().enumerate() {
                        *to = if accumulate { *to + value(c) } else { value(c) };
                    }
                }
                _ => {
                    for (c, to) in line[..out.columns].iter_mut().enumerate() {
                        *to = if accumulate { *to + value(c) } else { value(c) };
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::matmul::Exactness;
    use ternary_core::rng::Rng;

    /// Every level that makes products of bytes, and whether there was one.
    fn each_level(mut check: impl FnMut(Level)) {
        let levels = Level::available().into_iter().filter(|l| suits(*l));
        if levels.map(&mut check).count() == 0 {
            eprintln!("SKIPPED: this machine has no dot products of bytes");
        }
    }

    /// Gradients `[m, k]` whose lines differ in size by four orders of magnitude, codes `[k, n]`
    /// times scales.
    struct Case {
        a: Vec<f32>,
        b: Vec<f32>,
        scales: Vec<f32>,
    }

    impl Case {
        fn new([m, n, k]: [usize; 3], most: i32, one: bool) -> Self {
            let mut rng = Rng::new((m * n + k) as u64);
            let scales: Vec<f32> = (0..if one { 1 } else { k })
                .map(|_| 0.01 + rng.normal().abs())
                .collect();
            let a = (0..m * k)
                .map(|i| rng.normal() * 10f32.powi(-((i / k) as i32 % 5)))
                .collect();
            let b = (0..k * n)
                .map(|i| {
                    let code = (rng.next_u64() % (2 * most as u64 + 1)) as i32 - most;
                    code as f32 * scales[if one { 0 } else { i / n }]
                })
                .collect();
            Case { a, b, scales }
        }

        /// The product with `a` stored transposed or not, beside what was in `out`.
        fn run(
            &self,
            level: Level,
            [m, n, k]: [usize; 3],
            transposed: bool,
            before: Option<&[f32]>,
        ) -> Vec<f32> {
            let a: Vec<f32> = match transposed {
                false => self.a.clone(),
                true => (0..m * k).map(|i| self.a[i % m * k + i / m]).collect(),
            };
            let product = Product {
                alpha: 0.5,
                accumulate: before.is_some(),
                ..Product::new(
                    View::stored(&a, m, k, transposed),
                    View::new(&self.b, k, n),
                    Exactness {
                        precision: Precision::Gradient,
                        scales: [None, Some(&self.scales)],
                    },
                )
            };
            let mut out = before.map_or_else(|| vec![f32::NAN; m * n], <[f32]>::to_vec);
            assert!(super::product(level, &product, &mut out));
            out
        }
    }

    impl Case {
        /// That every result is within 2⁻¹⁵ of Σ max|a·s|·|code|.
        fn check(&self, level: Level, [m, n, k]: [usize; 3], transposed: bool, accumulate: bool) {
            let before = vec![0.25; m * n];
            let given = accumulate.then_some(&before[..]);
            let out = self.run(level, [m, n, k], transposed, given);
            let what = format!("{m}×{n}×{k} {transposed} {accumulate} at {}", level.name());
            let scale = |l: usize| f64::from(self.scales[l % self.scales.len()]);
            for (i, line) in self.a.chunks_exact(k).enumerate() {
                let weighted = line
                    .iter()
                    .enumerate()
                    .map(|(l, v)| f64::from(*v) * scale(l));
                let weighted: Vec<f64> = weighted.collect();
                let largest = weighted.iter().fold(0f64, |most, v| most.max(v.abs()));
                for j in 0..n {
                    let start = if accumulate { 0.25 } else { 0.0 };
                    let (mut sum, mut size) = (start, start);
                    for (l, v) in weighted.iter().enumerate() {
                        let code = f64::from(self.b[l * n + j]) / scale(l);
                        sum += 0.5 * v * code;
                        size += 0.5 * largest * code.abs();
                    }
                    let error = (f64::from(out[i * n + j]) - sum).abs();
                    assert!(
                        error <= size / 32768.0,
                        "{what}, ({i}, {j}): {error:e} of {size:e}"
                    );
                }
            }
        }
    }

    #[test]
    fn gradients_are_as_exact_as_they_say() {
        each_level(|level| {
            for sizes in [
                [16, 16, 16],
                [33, 40, 300],
                [17, 65, 129],
                [48, 20, 1030],
                [100, 64, 512],
            ] {
                for (most, one) in [(1, true), (1, false), (127, false)] {
                    let case = Case::new(sizes, most, one);
                    for (transposed, accumulate) in
                        [(false, false), (false, true), (true, false), (true, true)]
                    {
                        case.check(level, sizes, transposed, accumulate);
                    }
                }
            }
        });
    }

    #[test]
    fn what_is_not_finite_stays_so_in_its_line_alone() {
        each_level(|level| {
            let sizes @ [m, n, k] = [20, 20, 40];
            for transposed in [false, true] {
                for bad in [f32::NAN, f32::INFINITY] {
                    let mut case = Case::new(sizes, 127, false);
                    case.a[3 * k + 7] = bad;
                    let out = case.run(level, sizes, transposed, None);
                    for (i, line) in out.chunks_exact(n).enumerate() {
                        assert_eq!(
                            line.iter().all(|v| v.is_finite()),
                            i != 3,
                            "line {i} of {m}"
                        );
                        assert!(i != 3 || line.iter().all(|v| v.is_nan()));
                    }
                }
                let mut case = Case::new(sizes, 127, false);
                case.b[5 * n + 7] = f32::INFINITY;
                let out = case.run(level, sizes, transposed, Some(&vec![1.0; m * n]));
                assert!(
                    out.iter().any(|v| v.is_nan()),
                    "an infinite weight was lost"
                );
                // Lines of zeros and of numbers too small for a scale.
                let mut case = Case::new(sizes, 127, false);
                case.a[..k].fill(0.0);
                case.a[k..2 * k].fill(1e-38);
                let out = case.run(level, sizes, transposed, None);
                assert!(out[..2 * n].iter().all(|v| *v == 0.0));
            }
        });
    }
}
