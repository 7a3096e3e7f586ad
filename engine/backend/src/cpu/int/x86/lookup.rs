//! Tiles of 128 ternary columns of 64 weight rows with four rows of activations, see
//! [`super::super::lookup`]. Every load is within slices whose lengths are asserted.

use std::arch::x86_64::*;

use super::super::lookup::{CODES, LOOKED_UP, Part, ROWS, TOKENS, Total, WORDS, X_PART};

/// Registers of 32 words or 16 double words for the rows of a panel.
const HALVES: usize = ROWS / 32;
const QUARTERS: usize = ROWS / 16;

/// How a panel's sums go into the total.
#[derive(Clone, Copy)]
pub enum Into<'a> {
    /// As integers: a weight has one scale for all columns.
    Whole,
    /// As floats, with these columns' scales and the sums of the activations' codes.
    Span(&'a [f32; ROWS], [i32; TOKENS]),
}

/// Adds the sums of the tiles of `panel` with those of `x`, of which there are at most two, to
/// `total`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn add_tiles(panel: &[Part], x: &[u32], total: &mut Total, into: Into) {
    assert!(x.len() == panel.len() * X_PART);
    let none = _mm512_setzero_si512();
    let mut products = [[none; QUARTERS]; TOKENS];
    let mut found = [[none; HALVES]; TOKENS];
    for (part, x) in panel.iter().zip(x.as_chunks::<X_PART>().0) {
        let (tables, words) = x.split_at(LOOKED_UP * TOKENS * 16);
        for step in 0..WORDS {
            // SAFETY: within the step's part of the slices, whose lengths are those of their types.
            unsafe {
                let codes: [__m512i; QUARTERS] = std::array::from_fn(|q| {
                    _mm512_loadu_si512(part.words[step][16 * q..].as_ptr().cast())
                });
                let places: [__m512i; HALVES] = match part.places.get(step) {
                    Some(places) => std::array::from_fn(|h| {
                        _mm512_loadu_si512(places[32 * h..].as_ptr().cast())
                    }),
                    None => [none; HALVES],
                };
                for t in 0..TOKENS {
                    let x = _mm512_set1_epi32(words[step * TOKENS + t].cast_signed());
                    for (sum, codes) in products[t].iter_mut().zip(codes) {
                        *sum = _mm512_dpbusd_epi32(*sum, codes, x);
                    }
                    if step < LOOKED_UP {
                        let table = tables[(step * TOKENS + t) * 16..].as_ptr();
                        let table = _mm512_loadu_si512(table.cast());
                        for (sum, places) in found[t].iter_mut().zip(places) {
                            let values = _mm512_permutexvar_epi16(places, table);
                            *sum = _mm512_add_epi16(*sum, values);
                        }
                    }
                }
            }
        }
    }
    for (t, total) in total.iter_mut().enumerate() {
        for (q, total) in total.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            // Even words are the rows of a half's first quarter.
            let found = match q % 2 {
                0 => _mm512_slli_epi32::<16>(found[t][q / 2]),
                _ => found[t][q / 2],
            };
            let raw = _mm512_add_epi32(products[t][q], _mm512_srai_epi32::<16>(found));
            // SAFETY: sixteen elements.
            unsafe {
                let before = _mm512_loadu_si512(total.as_ptr().cast());
                let after = match into {
                    Into::Whole => _mm512_add_epi32(before, raw),
                    Into::Span(scales, sums) => {
                        let signed = _mm512_sub_epi32(raw, _mm512_set1_epi32(sums[t]));
                        let scales = _mm512_loadu_ps(scales[16 * q..].as_ptr());
                        let scaled = _mm512_mul_ps(scales, _mm512_cvtepi32_ps(signed));
                        _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(before), scaled))
                    }
                };
                _mm512_storeu_si512(total.as_mut_ptr().cast(), after);
            }
        }
    }
}

/// A tile of sixteen rows, eight words of each as [`super::turn`] puts them side by side, as the
/// `q`th quarter of a part. Quarters are put in order.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub unsafe fn put_quarter(words: &[u32; 8 * 16], q: usize, part: &mut Part) {
    let mask = _mm512_set1_epi8(3);
    // SAFETY: 64 bytes.
    let places = unsafe { _mm512_loadu_si512(PLACES.as_ptr().cast()) };
    for (w, words) in words.as_chunks::<16>().0.iter().enumerate() {
        // SAFETY: sixteen words.
        let word = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
        let mut put = |step: usize, codes: __m512i| {
            let codes = _mm512_and_si512(codes, mask);
            // SAFETY: sixteen words.
            unsafe {
                _mm512_storeu_si512(part.words[step][16 * q..].as_mut_ptr().cast(), codes);
            }
        };
        if w >= CODES {
            let step = CODES + 4 * (w - CODES);
            put(step, word);
            put(step + 1, _mm512_srli_epi32::<2>(word));
            put(step + 2, _mm512_srli_epi32::<4>(word));
            put(step + 3, _mm512_srli_epi32::<6>(word));
            continue;
        }
        put(w, _mm512_srli_epi32::<6>(word));
        // The highest field, which is multiplied, does not count here.
        let place = _mm512_permutexvar_epi8(_mm512_and_si512(word, _mm512_set1_epi8(63)), places);
        for b in 0..4 {
            let line = part.places[4 * w + b][32 * (q / 2)..].as_mut_ptr();
            let shift = _mm_cvtsi32_si128(8 * b as i32);
            let low = _mm512_srl_epi32(place, shift);
            // SAFETY: 32 words, of which a quarter has every other one.
            unsafe {
                let words = match q % 2 {
                    0 => low,
                    _ => {
                        let before = _mm512_loadu_si512(line.cast());
                        _mm512_mask_blend_epi16(0xAAAA_AAAA, before, _mm512_slli_epi32::<16>(low))
                    }
                };
                _mm512_storeu_si512(line.cast(), words);
            }
        }
    }
}

/// Weights' codes of a table's places: of the first two columns.
const PAIR: [u8; 64] = codes_of([1, 3]);
/// The same of the third, and nothing.
const THIRD: [u8; 64] = codes_of([9, 27]);

/// Codes of every place's columns whose codes count `times` in it.
const fn codes_of(times: [usize; 2]) -> [u8; 64] {
    let mut codes = [0; 64];
    let mut i = 0;
    while i < 2 * 27 {
        codes[i] = (i / 2 / times[i % 2] % 3) as u8;
        i += 1;
    }
    codes
}

/// Places of three codes of two bits.
const PLACES: [u8; 64] = {
    let mut places = [0; 64];
    let mut i = 0;
    while i < 64 {
        places[i] = (i % 4 + 3 * (i / 4 % 4) + 9 * (i / 16)) as u8;
        i += 1;
    }
    places
};

/// The tables of a tile of one row of activations, at every `TOKENS`th place of `tables`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub unsafe fn put_tables(codes: &[i8; 128], token: usize, tables: &mut [u32]) {
    assert!(tables.len() == LOOKED_UP * TOKENS * 16 && token < TOKENS);
    // SAFETY: 64 bytes each.
    let (pair, third) = unsafe {
        (
            _mm512_loadu_si512(PAIR.as_ptr().cast()),
            _mm512_loadu_si512(THIRD.as_ptr().cast()),
        )
    };
    for i in 0..LOOKED_UP {
        let both = i16::from_le_bytes([codes[i].cast_unsigned(), codes[32 + i].cast_unsigned()]);
        let last = i16::from(codes[64 + i]);
        let table = _mm512_add_epi16(
            _mm512_maddubs_epi16(pair, _mm512_set1_epi16(both)),
            _mm512_maddubs_epi16(third, _mm512_set1_epi16(last)),
        );
        let to = tables[(i * TOKENS + token) * 16..][..16].as_mut_ptr();
        // SAFETY: sixteen words.
        unsafe { _mm512_storeu_si512(to.cast(), table) };
    }
}
