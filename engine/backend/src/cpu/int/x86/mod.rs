//! x86-64 kernels, and what they share.

mod few;
mod lookup;
mod panels;
mod rows;

pub use few::*;
pub use lookup::*;
pub use panels::*;
pub use rows::*;

use std::arch::x86_64::*;

/// Pairs of products in i16: `codes` unsigned, `x` signed.
#[inline]
#[target_feature(enable = "avx2")]
fn add_pairs(acc: __m256i, codes: __m256i, x: __m256i) -> __m256i {
    _mm256_add_epi16(acc, _mm256_maddubs_epi16(codes, x))
}

/// Quads of products into i32, by way of pairs.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_avx2(acc: __m256i, codes: __m256i, x: __m256i) -> __m256i {
    widen(acc, _mm256_maddubs_epi16(codes, x))
}

/// `acc` + pairs of i16, in i32.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(acc: __m256i, pairs: __m256i) -> __m256i {
    _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}
