//! Eight rows of words with panels, see `super` and `super::tiles`. Every lane is a column:
//! - AVX-512 VNNI: two registers of sixteen columns; `vpdpbusd` multiplies four bytes, unsigned
//!   ones of the panels, `vpdpwssd` pairs of 16 bits. A row's word is read into every lane.
//! - AVX-VNNI: two registers of eight columns, and four rows at a time.
//! - AVX2: the same with `vpmaddwd` and an addition, for pairs.
//!
//! SAFETY of the loads, in all of them: the tile holds a word of every row for each step, which is
//! checked.

use std::arch::asm;
use std::arch::x86_64::*;

use super::lookup::{GROUP, SIGN, Tables};
use super::tiles::{LANES, Line, Place, ROWS, Tile};

/// Word 0 of a tile, if it holds `steps` of every row.
fn checked(tile: &Tile, steps: usize) -> *const u32 {
    assert!(tile.words.len() > (ROWS - 1) * tile.row + steps.saturating_sub(1) * tile.step);
    tile.words.as_ptr()
}

/// `acc` + pairs of products. Written as the instruction: from the intrinsic the compiler makes a
/// product and an addition, which take two vector units where this takes one.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn add_pairs_512(mut acc: __m512i, codes: __m512i, word: __m512i) -> __m512i {
    // SAFETY: the features are there; registers alone are read and written.
    unsafe {
        asm!(
            "vpdpwssd {acc}, {codes}, {word}",
            acc = inout(zmm_reg) acc,
            codes = in(zmm_reg) codes,
            word = in(zmm_reg) word,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// As [`add_pairs_512`], in the encoding of AVX-VNNI.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn add_pairs_256(mut acc: __m256i, codes: __m256i, word: __m256i) -> __m256i {
    // SAFETY: as above.
    unsafe {
        asm!(
            "{{vex}} vpdpwssd {acc}, {codes}, {word}",
            acc = inout(ymm_reg) acc,
            codes = in(ymm_reg) codes,
            word = in(ymm_reg) word,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_pairs_avx2(acc: __m256i, codes: __m256i, word: __m256i) -> __m256i {
    _mm256_add_epi32(acc, _mm256_madd_epi16(codes, word))
}

/// A kernel of two registers of sixteen columns: `$dot(acc, codes, word)`.
macro_rules! kernel_512 {
    ($name:ident, $dot:expr) => {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
        pub fn $name(tile: &Tile, panels: [&[Line]; 2], mut place: Place<2>) {
            let words = checked(tile, panels[0].len());
            let mut acc = tile.offsets.map(|offset| [_mm512_set1_epi32(offset); 2]);
            for (step, (low, high)) in panels[0].iter().zip(panels[1]).enumerate() {
                // SAFETY: sixteen words each.
                let codes = unsafe {
                    [
                        _mm512_loadu_si512(low.as_ptr().cast()),
                        _mm512_loadu_si512(high.as_ptr().cast()),
                    ]
                };
                for (r, acc) in acc.iter_mut().enumerate() {
                    // SAFETY: see above.
                    let word = unsafe { *words.add(r * tile.row + step * tile.step) };
                    let word = _mm512_set1_epi32(word as i32);
                    for (acc, codes) in acc.iter_mut().zip(codes) {
                        *acc = $dot(*acc, codes, word);
                    }
                }
            }
            let out = place.checked();
            for (r, (acc, scale)) in acc.into_iter().zip(tile.scales).enumerate() {
                let scale = _mm512_set1_ps(*scale);
                for (p, acc) in acc.into_iter().enumerate() {
                    let mut sum = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), scale);
                    // SAFETY: sixteen floats each; what is written was checked.
                    unsafe {
                        let out = out.add(r * place.stride + p * LANES);
                        if let Some(columns) = place.columns {
                            sum = _mm512_mul_ps(sum, _mm512_loadu_ps(columns[p].as_ptr()));
                        }
                        if place.add {
                            sum = _mm512_add_ps(_mm512_loadu_ps(out), sum);
                        }
                        _mm512_storeu_ps(out, sum);
                    }
                }
            }
        }
    };
}

kernel_512!(bytes_avx512, _mm512_dpbusd_epi32);
kernel_512!(pairs_avx512, add_pairs_512);

/// Tables of row `r` of what `digits` times groups of values are, see `lookup`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub fn tables_avx512(
    values: &[[f32; GROUP]],
    digits: &[[f32; LANES]; GROUP],
    r: usize,
    tables: &mut [Tables],
) {
    // SAFETY: sixteen floats each.
    let [first, second, third] = unsafe { digits.each_ref().map(|d| _mm512_loadu_ps(d.as_ptr())) };
    for (tables, values) in tables.iter_mut().zip(values) {
        let [x, y, z] = values.map(|v| _mm512_set1_ps(v));
        let sum = _mm512_fmadd_ps(y, second, _mm512_mul_ps(x, first));
        let sum = _mm512_fmadd_ps(z, third, sum);
        // SAFETY: sixteen floats.
        unsafe { _mm512_storeu_ps(tables[r].as_mut_ptr(), sum) };
    }
}

/// What each row's tables have for two panels, see `lookup`. The first fourteen
/// of sixteen values count; `vpermps` takes the last four bits of a word.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub fn looked_up_avx512(tables: &[Tables], panels: [&[Line]; 2], mut place: Place<2>) {
    let sign = _mm512_set1_epi32(SIGN as i32);
    let one = _mm512_castps_si512(_mm512_set1_ps(1.0));
    let mut acc = [[_mm512_setzero_ps(); 2]; ROWS];
    for ((tables, low), high) in tables.iter().zip(panels[0]).zip(panels[1]) {
        // SAFETY: sixteen words each.
        let words = unsafe {
            [
                _mm512_loadu_si512(low.as_ptr().cast()),
                _mm512_loadu_si512(high.as_ptr().cast()),
            ]
        };
        // ±1: the sign where `sign` has a bit, else one: a & b | c.
        let signs =
            words.map(|w| _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xea>(w, sign, one)));
        for (acc, table) in acc.iter_mut().zip(tables) {
            // SAFETY: sixteen floats.
            let table = unsafe { _mm512_loadu_ps(table.as_ptr()) };
            for p in 0..2 {
                let value = _mm512_permutexvar_ps(words[p], table);
                acc[p] = _mm512_fmadd_ps(value, signs[p], acc[p]);
            }
        }
    }
    let out = place.checked();
    for (r, acc) in acc.into_iter().enumerate() {
        for (p, mut sum) in acc.into_iter().enumerate() {
            // SAFETY: sixteen floats, which were checked.
            unsafe {
                let out = out.add(r * place.stride + p * LANES);
                if place.add {
                    sum = _mm512_add_ps(_mm512_loadu_ps(out), sum);
                }
                _mm512_storeu_ps(out, sum);
            }
        }
    }
}

/// Rows taken at once by the 256-bit kernels.
const FOUR: usize = 4;

/// A kernel of two registers of eight columns: `$dot(acc, codes, word)`.
macro_rules! kernel_256 {
    ($name:ident, $features:literal, $dot:expr) => {
        #[target_feature(enable = $features)]
        pub fn $name(tile: &Tile, [panel]: [&[Line]; 1], mut place: Place<1>) {
            let words = checked(tile, panel.len());
            let out = place.checked();
            let scales = tile.scales.as_chunks::<FOUR>().0;
            let offsets = tile.offsets.as_chunks::<FOUR>().0;
            for (four, (scales, offsets)) in scales.iter().zip(offsets).enumerate() {
                let mut acc = offsets.map(|offset| [_mm256_set1_epi32(offset); 2]);
                for (step, line) in panel.iter().enumerate() {
                    // SAFETY: two times eight words.
                    let codes = unsafe {
                        [
                            _mm256_loadu_si256(line.as_ptr().cast()),
                            _mm256_loadu_si256(line[LANES / 2..].as_ptr().cast()),
                        ]
                    };
                    for (r, acc) in acc.iter_mut().enumerate() {
                        let at = (four * FOUR + r) * tile.row + step * tile.step;
                        // SAFETY: see above.
                        let word = _mm256_set1_epi32(unsafe { *words.add(at) } as i32);
                        for (acc, codes) in acc.iter_mut().zip(codes) {
                            *acc = $dot(*acc, codes, word);
                        }
                    }
                }
                for (r, (acc, scale)) in acc.into_iter().zip(scales).enumerate() {
                    let scale = _mm256_set1_ps(*scale);
                    for (half, acc) in acc.into_iter().enumerate() {
                        let at = half * LANES / 2;
                        let mut sum = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), scale);
                        // SAFETY: eight floats each; what is written was checked.
                        unsafe {
                            let out = out.add((four * FOUR + r) * place.stride + at);
                            if let Some([columns]) = place.columns {
                                sum = _mm256_mul_ps(sum, _mm256_loadu_ps(columns[at..].as_ptr()));
                            }
                            if place.add {
                                sum = _mm256_add_ps(_mm256_loadu_ps(out), sum);
                            }
                            _mm256_storeu_ps(out, sum);
                        }
                    }
                }
            }
        }
    };
}

kernel_256!(bytes_avxvnni, "avx2,avxvnni", _mm256_dpbusd_avx_epi32);
kernel_256!(pairs_avxvnni, "avx2,avxvnni", add_pairs_256);
kernel_256!(pairs_avx2, "avx2", add_pairs_avx2);
