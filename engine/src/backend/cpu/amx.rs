//! f32 matrix products on Intel's matrix unit (AMX), `out (+)= a·b`.
//!
//! The unit multiplies bf16 (8 significant bits) and sums in f32. A float is cut into bf16 pieces, x = x₀ + x₁ + x₂ with
//! |x₁| ≤ 2⁻⁸|x| and |x₂| ≤ 2⁻¹⁶|x|, and products of pieces are summed, small ones first:
//! - three pieces, six products (a₀b₂ a₀b₁ a₁b₁ a₁b₀ a₂b₀ a₀b₀): what is left out is below 2⁻²²|ab|, the error of f32 itself;
//! - two pieces, three products (a₀b₁ a₀b₀ a₁b₀): off by less than 2⁻¹⁵|ab| ("bf16_3x" elsewhere), twice as fast, for gradients.
//!
//! A quantised operand is codes times scales, and codes (at most ±127) are bf16 numbers as they are: one piece. Forward products of
//! int8 activations and quantised weights are then exact sums of integers, scaled at the end. Where the scales run along k, in
//! gradients, they go into the other operand before it is cut.
//!
//! Packing: tiles of 16 rows of 64 bytes. A tile of `a` holds 16 rows × 32 k; one of `b` holds 16 k-pairs × 16 columns, the pair
//! side by side. A *panel* is 32 rows of `a` (or 32 columns of `b`) for all k: `[k/32][piece][2 tiles]`. Ragged ends are zeros.
//! One kernel call computes 32×32 outputs in four accumulator tiles.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;

use super::lattice::Lattice;
use super::matmul::{Exactness, Precision, View};
use super::par;
use super::simd::multiversion;
use crate::math;

/// Rows of `a` and columns of `b` in a panel.
const SIDE: usize = 32;
/// k of one tile.
const STEP: usize = 32;
/// bf16 values of one tile.
const TILE: usize = 512;
/// bf16 values of one step of a panel.
const fn panel_step(pieces: usize) -> usize {
    pieces * 2 * TILE
}
/// Steps packed and multiplied before moving on.
const BLOCK_STEPS: usize = 8;
/// Panels of `b` (at most 48 KB each) that stay in the second-level cache while panels of `a` pass.
const GROUP_PANELS: usize = 16;
/// Most panels of `a` per unit of work: a group of `b` fetched once serves them all.
const BAND_PANELS: usize = 4;

/// Whether this machine and its kernel let us use the unit; asked once.
pub fn available() -> bool {
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ANSWER.get_or_init(|| {
        const BF16: u32 = 1 << 22;
        const TILES: u32 = 1 << 24;
        let leaf = __cpuid_count(7, 0);
        is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512bw")
            && leaf.edx & BF16 != 0
            && leaf.edx & TILES != 0
            && permitted()
    })
}

/// Linux gives a process the tile registers' state only when asked (arch_prctl, since 5.16).
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: i64;
    // SAFETY: a system call that changes nothing but this process's permission; it clobbers rcx and r11 as declared.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// `ldtilecfg`'s operand: palette 1, eight tiles of 16 rows × 64 bytes.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: TileConfig = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut i = 0;
    while i < 8 {
        row_bytes[i] = 64;
        rows[i] = 16;
        i += 1;
    }
    TileConfig {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes,
        rows,
    }
};

/// The tile registers, configured for this thread until dropped.
struct Tiles;

impl Tiles {
    /// SAFETY: [`available`] must have said yes.
    unsafe fn configure() -> Self {
        // SAFETY: the configuration is valid (above) and the unit is there and permitted.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly)) };
        Tiles
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: a `Tiles` exists only where the unit does.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// One pass over `steps` steps, which lie `$a_bytes` and `$b_bytes` apart; each line loads tiles, then they are multiplied.
macro_rules! pass {
    ($a:ident, $b:ident, $steps:ident, $a_bytes:literal, $b_bytes:literal, $($line:expr),+) => {
        asm!(
            "2:",
            $($line, "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7", "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",)+
            concat!("add {a}, ", $a_bytes),
            concat!("add {b}, ", $b_bytes),
            "dec {n}",
            "jnz 2b",
            a = inout(reg) $a => _, b = inout(reg) $b => _, n = inout(reg) $steps => _, s = in(reg) 64usize,
            options(nostack, readonly),
        )
    };
}

/// Both tiles of a piece into the registers of `a` or `b`; `at` is the piece's byte in the step.
macro_rules! load_a {
    ($at:literal, $next:literal) => {
        concat!(
            "tileloadd tmm4, [{a} + {s}*1 + ",
            $at,
            "]\ntileloadd tmm5, [{a} + {s}*1 + ",
            $next,
            "]"
        )
    };
}
macro_rules! load_b {
    ($at:literal, $next:literal) => {
        concat!(
            "tileloadd tmm6, [{b} + {s}*1 + ",
            $at,
            "]\ntileloadd tmm7, [{b} + {s}*1 + ",
            $next,
            "]"
        )
    };
}

/// `c[32 × 32] (+)= a·b` over `steps` steps; `stride` is the bytes between rows of `c`.
///
/// SAFETY: the tiles are configured; `a` and `b` hold `steps` steps of `A` and `B` pieces, (1, 1), (2, 1), (3, 1), (2, 2) or (3, 3); 32
/// rows of 32 floats at `c` may be written.
unsafe fn multiply<const A: usize, const B: usize>(
    a: *const u16,
    b: *const u16,
    c: *mut f32,
    stride: usize,
    steps: usize,
    add: bool,
) {
    // SAFETY: as promised by the caller; all addresses lie inside the panels and the 32 rows of `c`.
    unsafe {
        let below = c.byte_add(16 * stride);
        // The sums are written a microsecond from now: have their cache lines here by then.
        for row in 0..SIDE {
            let line = c.byte_add(row * stride);
            asm!(
                "prefetchw [{c}]",
                "prefetchw [{c} + 64]",
                c = in(reg) line,
                options(nostack, preserves_flags, readonly),
            );
        }
        if add {
            asm!(
                "tileloadd tmm0, [{c} + {s}*1]",
                "tileloadd tmm1, [{c} + {s}*1 + 64]",
                "tileloadd tmm2, [{d} + {s}*1]",
                "tileloadd tmm3, [{d} + {s}*1 + 64]",
                c = in(reg) c, d = in(reg) below, s = in(reg) stride,
                options(nostack, preserves_flags, readonly),
            );
        } else {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, preserves_flags, nomem),
            );
        }
        // Small products first; between two of them only one side is loaded anew.
        match (A, B) {
            (1, 1) => pass!(
                a,
                b,
                steps,
                "2048",
                "2048",
                concat!(load_a!("0", "1024"), "\n", load_b!("0", "1024"))
            ),
            (2, 1) => pass!(
                a,
                b,
                steps,
                "4096",
                "2048",
                concat!(load_a!("2048", "3072"), "\n", load_b!("0", "1024")),
                load_a!("0", "1024")
            ),
            (3, 1) => pass!(
                a,
                b,
                steps,
                "6144",
                "2048",
                concat!(load_a!("4096", "5120"), "\n", load_b!("0", "1024")),
                load_a!("2048", "3072"),
                load_a!("0", "1024")
            ),
            (2, 2) => pass!(
                a,
                b,
                steps,
                "4096",
                "4096",
                concat!(load_a!("0", "1024"), "\n", load_b!("2048", "3072")),
                load_b!("0", "1024"),
                load_a!("2048", "3072")
            ),
            _ => pass!(
                a,
                b,
                steps,
                "6144",
                "6144",
                concat!(load_a!("0", "1024"), "\n", load_b!("4096", "5120")),
                load_b!("2048", "3072"),
                load_a!("2048", "3072"),
                load_b!("0", "1024"),
                load_a!("4096", "5120"),
                load_a!("0", "1024")
            ),
        }
        asm!(
            "tilestored [{c} + {s}*1], tmm0",
            "tilestored [{c} + {s}*1 + 64], tmm1",
            "tilestored [{d} + {s}*1], tmm2",
            "tilestored [{d} + {s}*1 + 64], tmm3",
            c = in(reg) c, d = in(reg) below, s = in(reg) stride,
            options(nostack, preserves_flags),
        );
    }
}

/// Words of two floats' pieces: those of `even` in the low halves, those of `odd` in the high halves, of 16 pairs.
///
/// A piece is the upper half of a float after rounding (half away from zero) to 8 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn pair<const PIECES: usize>(even: __m512, odd: __m512) -> [__m512i; PIECES] {
    let half = _mm512_set1_epi32(0x8000);
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let (mut even, mut odd) = (even, odd);
    [(); PIECES].map(|()| {
        let e = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(even), half), upper);
        let o = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(odd), half), upper);
        even = _mm512_sub_ps(even, _mm512_castsi512_ps(e));
        odd = _mm512_sub_ps(odd, _mm512_castsi512_ps(o));
        _mm512_or_si512(_mm512_srli_epi32::<16>(e), o)
    })
}

/// 16 floats, the first `live` of them real and the others 0.
///
/// SAFETY: `live` elements from `at` on are inside `data`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(data: &[f32], at: usize, live: usize) -> __m512 {
    let mask = if live >= 16 { !0 } else { (1u16 << live) - 1 };
    // SAFETY: masked-off elements are not read.
    unsafe { _mm512_maskz_loadu_ps(mask, data.as_ptr().wrapping_add(at)) }
}

/// Transpose 16 × 16 words.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(r: [__m512i; 16]) -> [__m512i; 16] {
    // Pairs of rows, then of pairs, within 128-bit lanes; then the lanes themselves.
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
    let mut out = u;
    for i in 0..4 {
        let a = _mm512_shuffle_i32x4::<0x88>(u[i], u[4 + i]);
        let b = _mm512_shuffle_i32x4::<0xdd>(u[i], u[4 + i]);
        let c = _mm512_shuffle_i32x4::<0x88>(u[8 + i], u[12 + i]);
        let d = _mm512_shuffle_i32x4::<0xdd>(u[8 + i], u[12 + i]);
        out[i] = _mm512_shuffle_i32x4::<0x88>(a, c);
        out[4 + i] = _mm512_shuffle_i32x4::<0x88>(b, d);
        out[8 + i] = _mm512_shuffle_i32x4::<0xdd>(a, c);
        out[12 + i] = _mm512_shuffle_i32x4::<0xdd>(b, d);
    }
    out
}

/// What an operand's elements are multiplied by before they are cut.
#[derive(Clone, Copy)]
enum Factor<'a> {
    One(f32),
    /// Of every line.
    Lines(&'a [f32]),
    /// Of every k.
    Depth(&'a [f32]),
}

/// How an operand lies: `lines` are rows of `a` or columns of `b`.
#[derive(Clone, Copy)]
struct Operand<'a> {
    data: &'a [f32],
    /// Elements from one line to the next, and from one k to the next; one of them is 1.
    line: usize,
    k: usize,
    lines: usize,
    depth: usize,
    factor: Factor<'a>,
    /// Tiles hold k-pairs in rows (`b`) rather than lines (`a`).
    paired: bool,
}

impl Operand<'_> {
    /// 16 contiguous elements times `factor`, the first `live` of them real.
    ///
    /// SAFETY: `live` elements from `at` on are inside `data`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(&self, at: usize, live: usize, factor: __m512) -> __m512 {
        // SAFETY: as promised by the caller.
        unsafe { _mm512_mul_ps(load(self.data, at, live), factor) }
    }

    /// Factors of 16 elements of line `line` from `k` on, all `live` of them real.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn along_depth(&self, line: usize, k: usize, live: usize) -> __m512 {
        match self.factor {
            Factor::One(f) => _mm512_set1_ps(f),
            Factor::Lines(f) => _mm512_set1_ps(f[line]),
            // SAFETY: there is a factor for every k, and `live` of them are left.
            Factor::Depth(f) => unsafe { load(f, k, live) },
        }
    }

    /// Factors of 16 elements of `k` from line `line` on.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn along_lines(&self, line: usize, k: usize, live: usize) -> __m512 {
        match self.factor {
            Factor::One(f) => _mm512_set1_ps(f),
            // SAFETY: there is a factor for every line, and `live` of them are left.
            Factor::Lines(f) => unsafe { load(f, line, live) },
            Factor::Depth(f) => _mm512_set1_ps(f.get(k).copied().unwrap_or(0.0)),
        }
    }

    /// Ask for the memory that the next step will read from `at` on.
    #[inline]
    #[target_feature(enable = "sse")]
    fn prefetch(&self, at: usize) {
        _mm_prefetch::<_MM_HINT_T0>(self.data.as_ptr().wrapping_add(at).cast());
    }

    /// Words (k-pairs) of 16 lines × 16 pairs at (`line`, `k`): rows of lines or of pairs, whichever the memory gives.
    ///
    /// SAFETY: the strides and counts describe `data`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn words<const PIECES: usize>(&self, line: usize, k: usize) -> [[__m512i; 16]; PIECES] {
        let zero = _mm512_setzero_si512();
        let mut out = [[zero; 16]; PIECES];
        let lines = self.lines.saturating_sub(line).min(16);
        let depth = self.depth.saturating_sub(k).min(STEP);
        if self.k == 1 {
            let in_order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
            for i in 0..lines {
                let at = (line + i) * self.line + k;
                self.prefetch(at + STEP);
                self.prefetch(at + STEP + 16);
                let rest = depth.saturating_sub(16);
                let first = self.along_depth(line + i, k, depth);
                let second = self.along_depth(line + i, k + 16, rest);
                // SAFETY: `depth` elements of line `line + i` from k on.
                let (low, high) = unsafe {
                    (
                        self.load(at, depth, first),
                        self.load(at + 16, rest, second),
                    )
                };
                // Neighbours become pairs; within each 128 bits two pairs of `low` come before two of `high`.
                let even = _mm512_shuffle_ps::<0b10_00_10_00>(low, high);
                let odd = _mm512_shuffle_ps::<0b11_01_11_01>(low, high);
                for (out, words) in out.iter_mut().zip(pair::<PIECES>(even, odd)) {
                    out[i] = _mm512_permutexvar_epi64(in_order, words);
                }
            }
        } else {
            for p in 0..depth.div_ceil(2) {
                let at = (k + 2 * p) * self.k + line;
                let second = if 2 * p + 1 < depth { lines } else { 0 };
                let factor = self.along_lines(line, k + 2 * p, lines);
                let next = self.along_lines(line, k + 2 * p + 1, lines);
                self.prefetch(at + STEP * self.k);
                self.prefetch(at + (STEP + 1) * self.k);
                // SAFETY: `lines` elements of row k + 2·p, and of the next if there is one.
                let (even, odd) = unsafe {
                    (
                        self.load(at, lines, factor),
                        self.load(at + self.k, second, next),
                    )
                };
                for (out, words) in out.iter_mut().zip(pair::<PIECES>(even, odd)) {
                    out[p] = words;
                }
            }
        }
        out
    }

    /// Pack panel `index` from step `first` on into `out`.
    ///
    /// SAFETY: AVX-512 with BF16 is there; the strides and counts describe `data`.
    #[target_feature(enable = "avx512f")]
    unsafe fn pack<const PIECES: usize>(&self, index: usize, first: usize, out: &mut [u16]) {
        for (step, out) in out.chunks_exact_mut(panel_step(PIECES)).enumerate() {
            for half in 0..2 {
                let k = (first + step) * STEP;
                // SAFETY: as promised by the caller.
                let words = unsafe { self.words::<PIECES>(index * SIDE + half * 16, k) };
                for (p, words) in words.into_iter().enumerate() {
                    // Memory gave rows of lines when k is contiguous; `a` wants those, `b` rows of pairs.
                    let words = if (self.k == 1) == self.paired {
                        transpose(words)
                    } else {
                        words
                    };
                    let tile = &mut out[(p * 2 + half) * TILE..][..TILE];
                    for (row, word) in tile.chunks_exact_mut(32).zip(words) {
                        // SAFETY: 32 values of 16 bits are 64 bytes.
                        unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), word) };
                    }
                }
            }
        }
    }
}

/// A tile row, which must not straddle two cache lines: such a load takes twice as long.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u16; 32]);

/// Memory for packed panels, kept between calls: fresh memory costs a page fault every 4 KB.
#[derive(Default)]
struct Panels(Vec<Line>);

impl Panels {
    /// Space for `len` values, a multiple of a tile's; what is in it is left over.
    fn space(&mut self, len: usize) -> &mut [u16] {
        let lines = len / 32;
        if self.0.len() < lines {
            self.0.resize(lines, Line([0; 32]));
        }
        // SAFETY: a line is 32 values without padding.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), lines * 32) }
    }
}

thread_local! {
    static PANELS: RefCell<Panels> = const { RefCell::new(Panels(Vec::new())) };
}

/// `out (+)= alpha·a·b`; `a` is `[m, k]` and `b` `[k, n]`, each with one stride of 1; rows of `out` are `out_rs` apart. Work is spread
/// over threads if `out` is contiguous.
#[allow(clippy::too_many_arguments)]
pub fn matmul(
    out: &mut [f32],
    out_rs: usize,
    a: View,
    b: View,
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    accumulate: bool,
    exactness: Exactness,
) {
    assert!(available() && m > 0 && n > 0 && k > 0 && out_rs >= n);
    let end = |v: &View, rows: usize, cols: usize| (rows - 1) * v.rs + (cols - 1) * v.cs;
    assert!(a.data.len() > end(&a, m, k) && b.data.len() > end(&b, k, n));
    assert!((a.cs == 1 || a.rs == 1) && (b.cs == 1 || b.rs == 1));
    let out = &mut out[..(m - 1) * out_rs + n];
    let mut left = Operand {
        data: a.data,
        line: a.rs,
        k: a.cs,
        lines: m,
        depth: k,
        factor: Factor::One(alpha),
        paired: false,
    };
    let mut right = Operand {
        data: b.data,
        line: b.cs,
        k: b.rs,
        lines: n,
        depth: k,
        factor: Factor::One(1.0),
        paired: true,
    };
    let (precision, [a_lattice, b_lattice]) = (exactness.precision, exactness.lattices);
    // Sums of codes are scaled at the end: what `out` held before cannot be among them.
    if let Some(lattice) = b_lattice
        && right.k == 1
        && left.k == 1
        && !accumulate
    {
        let (scales, inverse) = right.scales(lattice);
        right.factor = Factor::Lines(&inverse);
        if let Some(lattice) = a_lattice {
            let (rows, inverse) = left.scales(lattice);
            let rows: Vec<f32> = rows.iter().map(|s| s * alpha).collect();
            left.factor = Factor::Lines(&inverse);
            return product::<1, 1>(out, out_rs, left, right, false, Some((&rows, &scales)));
        }
        let rows = vec![1.0; m];
        return product::<3, 1>(out, out_rs, left, right, false, Some((&rows, &scales)));
    }
    if let Some(lattice) = b_lattice
        && right.line == 1
        && right.k != 1
        && precision == Precision::Gradient
    {
        let (scales, inverse) = right.scales(lattice);
        let scales: Vec<f32> = scales.iter().map(|s| s * alpha).collect();
        left.factor = Factor::Depth(&scales);
        right.factor = Factor::Depth(&inverse);
        return product::<2, 1>(out, out_rs, left, right, accumulate, None);
    }
    match precision {
        Precision::Float => product::<3, 3>(out, out_rs, left, right, accumulate, None),
        Precision::Gradient => product::<2, 2>(out, out_rs, left, right, accumulate, None),
    }
}

impl Operand<'_> {
    /// Scales of a quantised operand's rows in memory, and their inverses: times those, elements are codes (to a rounding that
    /// cutting to 8 bits takes away).
    fn scales(&self, lattice: Lattice) -> (Vec<f32>, Vec<f32>) {
        let (rows, columns) = if self.k == 1 {
            (self.lines, self.depth)
        } else {
            (self.depth, self.lines)
        };
        let stride = self.line.max(self.k);
        let largest = par::map(rows, rows * columns / 8, |r| {
            largest(&self.data[r * stride..][..columns])
        });
        let whole = largest.iter().fold(0f32, |m, v| m.max(*v));
        let scale = |v: &f32| if lattice.whole { whole } else { *v } / lattice.levels;
        let scales: Vec<f32> = largest.iter().map(scale).collect();
        let inverse = scales
            .iter()
            .map(|s| if *s > 0.0 { 1.0 / s } else { 0.0 })
            .collect();
        (scales, inverse)
    }
}

multiversion! {
    fn largest(x: &[f32]) -> f32 {
        math::max_by(x, f32::abs)
    }
}

/// Factors of `out`'s rows and columns, applied when the sums are whole.
type OutScales<'a> = Option<(&'a [f32], &'a [f32])>;

fn product<const A: usize, const B: usize>(
    out: &mut [f32],
    out_rs: usize,
    a: Operand,
    b: Operand,
    accumulate: bool,
    scales: OutScales,
) {
    let (m, n, k) = (a.lines, b.lines, a.depth);
    let (rows, columns, steps) = (m.div_ceil(SIDE), n.div_ceil(SIDE), k.div_ceil(STEP));
    // At least eight bands where there are rows enough, to keep threads level; the same whatever their number.
    let band = (rows / 8).clamp(1, BAND_PANELS);
    // Taken out, not borrowed: while this thread waits for others it may be given work that comes here again.
    let mut memory = PANELS.take();
    for first in (0..steps).step_by(BLOCK_STEPS) {
        let block = (steps - first).min(BLOCK_STEPS);
        let (a_panel, b_panel) = (block * panel_step(A), block * panel_step(B));
        // Views into larger matrices come from work that is already spread over threads.
        let work = if out_rs == n { m * n * block * STEP } else { 0 };
        let packed = memory.space(rows * a_panel + columns * b_panel);
        let (left, right) = packed.split_at_mut(rows * a_panel);
        par::pieces(left, a_panel, work, |i, out| {
            // SAFETY: the unit is available, so AVX-512 is; the operand was checked by the caller.
            unsafe { a.pack::<A>(i, first, out) };
        });
        par::pieces(right, b_panel, work, |i, out| {
            // SAFETY: as above.
            unsafe { b.pack::<B>(i, first, out) };
        });
        let (left, right) = (&*left, &*right);
        let add = accumulate || first > 0;
        let scales = scales.filter(|_| first + block == steps);
        par::pieces(out, band * SIDE * out_rs, work, |i, out| {
            let a = left[i * band * a_panel..].chunks_exact(a_panel).take(band);
            let scales = scales.map(|(rows, columns)| (&rows[i * band * SIDE..], columns));
            multiply_band::<A, B>(a, right, block, out, out_rs, n, add, scales);
        });
    }
    PANELS.set(memory);
}

/// Panels of `a` times every panel of `b`, each of `steps` steps, into `out` (up to 32 rows a panel, `n` columns).
#[allow(clippy::too_many_arguments)]
fn multiply_band<'a, const A: usize, const B: usize>(
    a: impl Iterator<Item = &'a [u16]> + Clone,
    b: &[u16],
    steps: usize,
    out: &mut [f32],
    out_rs: usize,
    n: usize,
    add: bool,
    scales: OutScales,
) {
    // SAFETY: the caller checked that the unit is available.
    let _tiles = unsafe { Tiles::configure() };
    let panel = steps * panel_step(B);
    for (group, b) in b.chunks(GROUP_PANELS * panel).enumerate() {
        for (i, (a, out)) in a.clone().zip(out.chunks_mut(SIDE * out_rs)).enumerate() {
            for (j, b) in b.chunks_exact(panel).enumerate() {
                let column = (group * GROUP_PANELS + j) * SIDE;
                let columns = (n - column).min(SIDE);
                let (a, b) = (a.as_ptr(), b.as_ptr());
                if out.len() > (SIDE - 1) * out_rs && columns == SIDE {
                    let c = out[column..].as_mut_ptr();
                    // SAFETY: the panels hold `steps` steps; `out` holds 32 rows and in each 32 columns from `column` on: the
                    // last row may be shorter than `out_rs`, but not than `n`.
                    unsafe { multiply::<A, B>(a, b, c, out_rs * 4, steps, add) };
                } else {
                    let mut edge = [0f32; SIDE * SIDE];
                    // SAFETY: as above, into a whole block of its own.
                    unsafe { multiply::<A, B>(a, b, edge.as_mut_ptr(), SIDE * 4, steps, false) };
                    for (line, edge) in out.chunks_mut(out_rs).zip(edge.chunks_exact(SIDE)) {
                        for (o, e) in line[column..][..columns].iter_mut().zip(edge) {
                            *o = if add { *o + e } else { *e };
                        }
                    }
                }
                if let Some((rows, all)) = scales {
                    let of_columns = &all[column..][..columns];
                    for (line, scale) in out.chunks_mut(out_rs).zip(&rows[i * SIDE..]) {
                        scale_line(&mut line[column..][..columns], *scale, of_columns);
                    }
                }
            }
        }
    }
}

multiversion! {
    fn scale_line(line: &mut [f32], scale: f32, of_columns: &[f32]) {
        for (o, s) in line.iter_mut().zip(of_columns) {
            *o *= scale * s;
        }
    }
}
