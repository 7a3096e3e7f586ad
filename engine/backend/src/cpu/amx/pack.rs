//! Packing operands into panels of tiles, cut into bf16 pieces on the way.

use std::arch::x86_64::*;

use super::super::matmul::View;
use super::{SIDE, STEP, TILE, panel_step};

/// A tile row, which must not straddle two cache lines: such a load takes twice as long.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct Line([u16; 32]);

/// Memory for packed panels, kept between calls: fresh memory costs a page fault every 4 KB.
#[derive(Default)]
pub struct Panels(Vec<Line>);

impl Panels {
    pub const EMPTY: Panels = Panels(Vec::new());

    /// Space for `lines` lines; what is in it is left over.
    pub fn space(&mut self, lines: usize) -> &mut [Line] {
        if self.0.len() < lines {
            self.0.resize(lines, Line::default());
        }
        &mut self.0[..lines]
    }
}

/// Words of two floats' pieces: those of `even` in the low halves, those of `odd` in the high
/// halves, of 16 pairs.
///
/// A piece is the upper half of a float after rounding (half away from zero) to 8 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn pair<const PIECES: usize>(even: __m512, odd: __m512) -> [__m512i; PIECES] {
    let half = _mm512_set1_epi32(0x8000);
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let (mut even, mut odd) = (even, odd);
    // Loops, not closures: what takes a closure has no AVX-512 and would keep it a call.
    let mut words = [half; PIECES];
    for words in &mut words {
        let e = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(even), half), upper);
        let o = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(odd), half), upper);
        even = _mm512_sub_ps(even, _mm512_castsi512_ps(e));
        odd = _mm512_sub_ps(odd, _mm512_castsi512_ps(o));
        *words = _mm512_or_si512(_mm512_srli_epi32::<16>(e), o);
    }
    words
}

/// The first `live` of 16 elements.
fn mask(live: usize) -> u16 {
    if live >= 16 { !0 } else { (1 << live) - 1 }
}

/// 16 floats from `at` on, 0 where `mask` has none.
///
/// SAFETY: the elements in `mask` are inside `data`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(data: &[f32], at: usize, mask: u16) -> __m512 {
    // SAFETY: masked-off elements are not read.
    unsafe { _mm512_maskz_loadu_ps(mask, data.as_ptr().wrapping_add(at)) }
}

/// Transpose a tile of 16 × 16 words.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(tile: &mut [Line; TILE]) {
    // Pairs of rows, then of pairs, within 128-bit lanes; then the lanes themselves.
    let mut r = [_mm512_setzero_si512(); TILE];
    for (r, line) in r.iter_mut().zip(&*tile) {
        // SAFETY: a line is 64 bytes, aligned.
        *r = unsafe { _mm512_load_si512((&raw const *line).cast()) };
    }
    let mut t = r;
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    let mut u = t;
    for i in 0..4 {
        u[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        u[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        u[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        u[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for i in 0..4 {
        let a = _mm512_shuffle_i32x4::<0x88>(u[i], u[4 + i]);
        let b = _mm512_shuffle_i32x4::<0xdd>(u[i], u[4 + i]);
        let c = _mm512_shuffle_i32x4::<0x88>(u[8 + i], u[12 + i]);
        let d = _mm512_shuffle_i32x4::<0xdd>(u[8 + i], u[12 + i]);
        tile[i].set(_mm512_shuffle_i32x4::<0x88>(a, c));
        tile[4 + i].set(_mm512_shuffle_i32x4::<0x88>(b, d));
        tile[8 + i].set(_mm512_shuffle_i32x4::<0xdd>(a, c));
        tile[12 + i].set(_mm512_shuffle_i32x4::<0xdd>(b, d));
    }
}

impl Line {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn set(&mut self, words: __m512i) {
        // SAFETY: a line is 64 bytes, aligned.
        unsafe { _mm512_store_si512((&raw mut *self).cast(), words) };
    }
}

/// What an operand's elements are multiplied by before they are cut.
#[derive(Clone, Copy)]
pub enum Factor<'a> {
    One(f32),
    /// Of every line.
    Lines(&'a [f32]),
    /// Of every k.
    Depth(&'a [f32]),
}

/// How an operand lies: `lines` are rows of `a` or columns of `b`.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    data: &'a [f32],
    /// Elements from one line to the next, and from one k to the next; one of them is 1.
    line: usize,
    k: usize,
    pub lines: usize,
    pub depth: usize,
    pub factor: Factor<'a>,
    /// Tiles hold k-pairs in rows (`b`) rather than lines (`a`).
    paired: bool,
}

impl<'a> Operand<'a> {
    /// The left operand, `[lines, depth]`.
    pub fn left(a: View<'a>, factor: f32) -> Self {
        assert!(a.is_inside() && (a.cs == 1 || a.rs == 1));
        Operand {
            data: a.data,
            line: a.rs,
            k: a.cs,
            lines: a.rows,
            depth: a.cols,
            factor: Factor::One(factor),
            paired: false,
        }
    }

    /// The right operand, `[depth, lines]`.
    pub fn right(b: View<'a>) -> Self {
        Operand {
            paired: true,
            ..Operand::left(b.transposed(), 1.0)
        }
    }

    /// Whether neighbors in memory are neighbors in k.
    pub fn runs_along_depth(&self) -> bool {
        self.k == 1
    }

    /// Factors of 16 elements of line `line` from `k` on, those in `mask` real.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn along_depth(&self, line: usize, k: usize, mask: u16) -> __m512 {
        match self.factor {
            Factor::One(f) => _mm512_set1_ps(f),
            Factor::Lines(f) => _mm512_set1_ps(f[line]),
            // SAFETY: there is a factor for every k, and those in the mask are real.
            Factor::Depth(f) => unsafe { load(f, k, mask) },
        }
    }

    /// Factors of 16 elements of `k` from line `line` on, those in `mask` real.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn along_lines(&self, line: usize, k: usize, mask: u16) -> __m512 {
        match self.factor {
            Factor::One(f) => _mm512_set1_ps(f),
            // SAFETY: there is a factor for every line, and those in the mask are real.
            Factor::Lines(f) => unsafe { load(f, line, mask) },
            Factor::Depth(f) => _mm512_set1_ps(f.get(k).copied().unwrap_or(0.0)),
        }
    }

    /// Ask for the memory that the next step will read from `at` on.
    #[inline]
    #[target_feature(enable = "sse")]
    fn prefetch(&self, at: usize) {
        _mm_prefetch::<_MM_HINT_T0>(self.data.as_ptr().wrapping_add(at).cast());
    }

    /// 16 elements from `at` on times their factors, 0 where `mask` has none.
    ///
    /// SAFETY: the elements in `mask` are inside `data`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(&self, at: usize, mask: u16, factors: __m512) -> __m512 {
        // SAFETY: as promised by the caller.
        unsafe { _mm512_mul_ps(load(self.data, at, mask), factors) }
    }

    /// Words (k-pairs) of 16 lines × 16 pairs at (`line`, `k`) into tile `half` of every piece, in
    /// rows of lines or of pairs, whichever the memory gives. Answers how many rows there were.
    ///
    /// SAFETY: the strides and counts describe `data`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    #[allow(
        clippy::needless_range_loop,
        reason = "a row is one of lines and of tiles"
    )]
    unsafe fn words<const PIECES: usize>(
        &self,
        line: usize,
        k: usize,
        tiles: &mut [[Line; TILE]],
        half: usize,
    ) -> usize {
        let lines = self.lines.saturating_sub(line).min(16);
        let depth = self.depth.saturating_sub(k).min(STEP);
        if self.k == 1 {
            let in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
            let (first, second) = (mask(depth), mask(depth.saturating_sub(16)));
            for i in 0..lines {
                let at = (line + i) * self.line + k;
                self.prefetch(at + STEP);
                self.prefetch(at + STEP + 16);
                let low = self.along_depth(line + i, k, first);
                let high = self.along_depth(line + i, k + 16, second);
                // SAFETY: `depth` elements of line `line + i` from k on.
                let (low, high) =
                    unsafe { (self.load(at, first, low), self.load(at + 16, second, high)) };
                // Neighbors become pairs; within each 128 bits two pairs of `low` come before two
                // of `high`.
                let even = _mm512_shuffle_ps::<0b10_00_10_00>(low, high);
                let odd = _mm512_shuffle_ps::<0b11_01_11_01>(low, high);
                for (p, words) in pair::<PIECES>(even, odd).into_iter().enumerate() {
                    tiles[p * 2 + half][i].set(_mm512_permutexvar_epi64(in_order, words));
                }
            }
            lines
        } else {
            let live = mask(lines);
            for i in 0..depth.div_ceil(2) {
                let at = (k + 2 * i) * self.k + line;
                let next = if 2 * i + 1 < depth { live } else { 0 };
                self.prefetch(at + STEP * self.k);
                self.prefetch(at + (STEP + 1) * self.k);
                let even = self.along_lines(line, k + 2 * i, live);
                let odd = self.along_lines(line, k + 2 * i + 1, next);
                // SAFETY: `lines` elements of row k + 2·i, and of the next if there is one.
                let (even, odd) =
                    unsafe { (self.load(at, live, even), self.load(at + self.k, next, odd)) };
                for (p, words) in pair::<PIECES>(even, odd).into_iter().enumerate() {
                    tiles[p * 2 + half][i].set(words);
                }
            }
            depth.div_ceil(2)
        }
    }

    /// Pack panel `index` from step `first` on into `out`.
    ///
    /// SAFETY: AVX-512 is there; the strides and counts describe `data`.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn pack<const PIECES: usize>(&self, index: usize, first: usize, out: &mut [Line]) {
        // Memory gives rows of lines when k is contiguous; `a` wants those, `b` rows of pairs.
        let turned = (self.k == 1) == self.paired;
        for (step, out) in out.chunks_exact_mut(panel_step(PIECES)).enumerate() {
            let (tiles, _) = out.as_chunks_mut::<TILE>();
            for half in 0..2 {
                let (line, k) = (index * SIDE + half * 16, (first + step) * STEP);
                // SAFETY: as promised by the caller.
                let rows = unsafe { self.words::<PIECES>(line, k, tiles, half) };
                for p in 0..PIECES {
                    let tile = &mut tiles[p * 2 + half];
                    tile[rows..].fill(Line::default());
                    if turned {
                        transpose(tile);
                    }
                }
            }
        }
    }

    /// The scales of a quantized operand's rows in memory, of which one may stand for all, and
    /// their inverses: times those, elements are codes (to a rounding that cutting to 8 bits takes
    /// away).
    pub fn scales(&self, given: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let rows = if self.k == 1 { self.lines } else { self.depth };
        let scales = match given {
            [one] => vec![*one; rows],
            _ => given[..rows].to_vec(),
        };
        let inverse = scales.iter().map(|s| 1.0 / s).collect();
        (scales, inverse)
    }
}
