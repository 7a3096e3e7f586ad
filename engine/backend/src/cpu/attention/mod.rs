//! Causal attention: over the KV cache (inference), and over whole sequences with its backward
//! (training).
//!
//! Over the cache, `out[h] = Σ_t p[h, t]·value[t]` with p the softmax of `scale·q[h]·key[t]`. Keys
//! and values are read once for up to four queries that share them: heads of the same key head, and
//! in prefill several rows. In decode all heads go through the cache together, [`BLOCK`] positions
//! at a time, because a position's keys lie side by side; in prefill one head after the other,
//! because its keys stay in a near cache for the next rows.

mod blocks;
#[cfg(feature = "training")]
mod training;

#[cfg(feature = "training")]
pub use training::{backward, forward};

use std::ops::Range;

use super::dots::Narrow;
use super::simd::{Level, multiversion};
use super::vectors::{self, Wide};
use blocks::{BLOCK, QUERIES};
use ternary_common::platform::par;
use ternary_core::config::CachePrecision;
use ternary_core::math::{self, Lanes};
use ternary_model::program::{PAGE, Scores};

/// c·tanh(x / c).
#[inline(always)]
pub(super) fn softcap<V: Lanes>(x: V, cap: f32) -> V {
    V::splat(cap) * math::tanh(x / V::splat(cap))
}

/// Query rows of a task in prefill.
const BAND: usize = 16;

multiversion! {
    /// Scores made probabilities.
    fn softmax_scores(scores: &mut [f32], cap: Option<f32>) {
        if let Some(cap) = cap {
            vectors::update(scores, |s| softcap(s, cap));
        }
        let max = vectors::max(scores);
        vectors::update(scores, |s| math::exp(s - Wide::splat(max)));
        let inverse = Wide::splat(1.0 / vectors::sum(scores));
        vectors::update(scores, |s| s * inverse);
    }
}

/// Heads of queries, heads of keys and values, and elements of a head.
#[derive(Clone, Copy)]
pub struct Shape {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
}

impl Shape {
    /// Elements from one head of a cache to the next.
    fn pitch<W: Kept>(&self) -> usize {
        W::PRECISION.head_bytes(self.head_dim) / size_of::<W>()
    }

    /// Query heads of a key head.
    fn share(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// Keys and values as they are kept, `[max_seq, kv_heads]` heads each.
#[derive(Clone, Copy)]
pub struct Cache<'a, W> {
    pub keys: &'a [W],
    pub values: &'a [W],
}

/// What caches hold, see [`ternary_core::config::CachePrecision`].
pub trait Kept: Narrow {
    const PRECISION: CachePrecision;

    /// The scale of a head's codes; `head` begins with it. `None` of what has none.
    fn scale(head: &[Self], head_dim: usize) -> Option<f32>;
}

impl Kept for f32 {
    const PRECISION: CachePrecision = CachePrecision::F32;

    fn scale(_: &[f32], _: usize) -> Option<f32> {
        None
    }
}

impl Kept for u16 {
    const PRECISION: CachePrecision = CachePrecision::F16;

    fn scale(_: &[u16], _: usize) -> Option<f32> {
        None
    }
}

impl Kept for i8 {
    const PRECISION: CachePrecision = CachePrecision::Q8;

    fn scale(head: &[i8], head_dim: usize) -> Option<f32> {
        let bytes: &[u8] = bytemuck::cast_slice(&head[head_dim..]);
        bytes.first_chunk().map(|bytes| f32::from_le_bytes(*bytes))
    }
}

/// Rows of several sequences, see [`ternary_model::program::Places`].
#[derive(Clone, Copy)]
pub struct Placed<'a> {
    /// Position and table of every row.
    rows: &'a [[u32; 2]],
    all: &'a [u32],
}

impl<'a> Placed<'a> {
    /// `all`: what the operation's buffer holds, for `rows` rows.
    pub fn new(all: &'a [u32], rows: usize) -> Self {
        let (rows, _) = all[..2 * rows].as_chunks();
        Placed { rows, all }
    }

    pub fn position(&self, r: usize) -> usize {
        self.rows[r][0] as usize
    }

    pub fn table(&self, r: usize) -> Table<'a> {
        Table(Some(&self.all[self.rows[r][1] as usize..]))
    }

    /// Rows from `r` on, of `end` at most, that stand one after the other in one sequence.
    fn run(&self, r: usize, end: usize) -> usize {
        let [position, table] = self.rows[r];
        let follows = |(i, row): (usize, &[u32; 2])| *row != [position + i as u32, table];
        let rest = &self.rows[r..end];
        rest.iter()
            .enumerate()
            .position(follows)
            .unwrap_or(rest.len())
    }
}

/// Where a sequence's positions are in the caches: in pages; or, without any, where they say.
#[derive(Clone, Copy)]
pub struct Table<'a>(Option<&'a [u32]>);

impl Table<'_> {
    /// Row of the caches.
    pub fn row(&self, position: usize) -> usize {
        match self.0 {
            Some(pages) => pages[position / PAGE] as usize * PAGE + position % PAGE,
            None => position,
        }
    }

    /// Positions of `seen` in stretches that lie side by side, [`BLOCK`] at most: the first of
    /// each, and how many.
    fn blocks(self, seen: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let mut at = seen.start;
        std::iter::from_fn(move || {
            let whole = match self.0 {
                Some(_) => PAGE - at % PAGE,
                None => BLOCK,
            };
            let count = whole.min(seen.end.checked_sub(at).filter(|left| *left > 0)?);
            at += count;
            Some((at - count, count))
        })
    }
}

/// Where the rows of an operation stand.
pub enum Rows<'a> {
    /// One after the other from a position on.
    From(usize),
    Placed(Placed<'a>),
}

/// See [`ternary_model::program::Op::CachedAttention`].
pub fn cached<W: Kept>(
    level: Level,
    q: &[f32],
    cache: Cache<W>,
    out: &mut [f32],
    shape: Shape,
    at: Rows,
    of: Scores,
) {
    let width = shape.heads * shape.head_dim;
    let rows = out.len() / width;
    let attention = |table| Attention {
        level,
        cache,
        shape,
        of,
        table,
    };
    let last = match &at {
        Rows::From(pos) => pos + rows,
        Rows::Placed(at) => (0..rows).map(|r| at.position(r) + 1).max().unwrap_or(0),
    };
    let work = par::work([rows, width, last, 2]);
    if rows == 1 {
        let (pos, table) = match &at {
            Rows::From(pos) => (*pos, Table(None)),
            Rows::Placed(at) => (at.position(0), at.table(0)),
        };
        let heads = shape.kv_heads.div_ceil(par::threads());
        let part = heads * shape.share() * shape.head_dim;
        par::pieces(out, part, work, |i, out| {
            let q = &q[i * part..][..out.len()];
            attention(table).position(i * heads, q, pos, out, None);
        });
        return;
    }
    match at {
        Rows::From(pos) => par::pieces(out, BAND * width, work, |i, out| {
            let q = &q[i * BAND * width..][..out.len()];
            for kv in 0..shape.kv_heads {
                attention(Table(None)).rows(kv, q, pos + i * BAND, out);
            }
        }),
        Rows::Placed(at) => {
            // A few for each thread: sequences are of different lengths.
            let band = rows.div_ceil(4 * par::threads()).min(BAND);
            par::pieces(out, band * width, work, |i, out| {
                let (mut r, end) = (i * band, i * band + out.len() / width);
                while r < end {
                    let n = at.run(r, end);
                    let q = &q[r * width..][..n * width];
                    let out = &mut out[(r - i * band) * width..][..n * width];
                    let stands = |r| (at.position(r), attention(at.table(r)));
                    let (pos, attention) = stands(r);
                    r += n;
                    match n {
                        1 => {
                            let after = (r < end).then(|| stands(r)).map(|(pos, attention)| {
                                attention.table.row(attention.seen(pos).start)
                            });
                            attention.position(0, q, pos, out, after);
                        }
                        _ => (0..shape.kv_heads).for_each(|kv| attention.rows(kv, q, pos, out)),
                    }
                }
            });
        }
    }
}

/// Positions that lie side by side in the caches.
struct Stretch<'a, W> {
    /// The first one.
    at: usize,
    count: usize,
    /// Keys or values, and the row of them that is read next.
    next: Option<(&'a [W], usize)>,
}

struct Attention<'a, W> {
    level: Level,
    cache: Cache<'a, W>,
    shape: Shape,
    of: Scores,
    table: Table<'a>,
}

impl<'a, W: Kept> Attention<'a, W> {
    /// Positions that the query at `pos` sees.
    fn seen(&self, pos: usize) -> Range<usize> {
        let end = pos + 1;
        end - self.of.window.map_or(end, |window| window.min(end))..end
    }

    /// The positions of `seen`, of whose lines in `all` each is told what comes behind it: `then`
    /// at the end.
    fn stretches(
        &self,
        seen: Range<usize>,
        all: &'a [W],
        then: Option<(&'a [W], usize)>,
    ) -> impl Iterator<Item = Stretch<'a, W>> {
        let table = self.table;
        let mut blocks = table.blocks(seen).peekable();
        std::iter::from_fn(move || {
            let (at, count) = blocks.next()?;
            let next = blocks.peek().map(|(at, _)| (all, table.row(*at)));
            Some(Stretch {
                at,
                count,
                next: next.or(then),
            })
        })
    }

    /// Those whose keys are read, before their values are.
    fn keys(&self, seen: Range<usize>) -> impl Iterator<Item = Stretch<'a, W>> {
        let values = (self.cache.values, self.table.row(seen.start));
        self.stretches(seen, self.cache.keys, Some(values))
    }

    /// Those whose values are read, before the row `after` of the keys.
    fn values(
        &self,
        seen: Range<usize>,
        after: Option<usize>,
    ) -> impl Iterator<Item = Stretch<'a, W>> {
        let then = after.map(|row| (self.cache.keys, row));
        self.stretches(seen, self.cache.values, then)
    }

    /// All query heads of key heads `kv..`, at one position. `q` and `out` are theirs. What is read
    /// after it begins with the row `after` of the keys.
    fn position(&self, kv: usize, q: &[f32], pos: usize, out: &mut [f32], after: Option<usize>) {
        let Shape { head_dim, .. } = self.shape;
        let (share, seen) = (self.shape.share(), self.seen(pos));
        let heads = q.len() / head_dim;
        let n = seen.len().next_multiple_of(BLOCK);
        let mut scores = vec![0f32; heads * n];
        for stretch in self.keys(seen.clone()) {
            for (h, scores) in scores.chunks_mut(share * n).enumerate() {
                let q = &q[h * share * head_dim..][..share * head_dim];
                let queries = q
                    .chunks(QUERIES * head_dim)
                    .zip(scores.chunks_mut(QUERIES * n));
                for (q, scores) in queries {
                    let scores = &mut scores[stretch.at - seen.start..];
                    self.score(kv + h, &stretch, q, scores, n);
                }
            }
        }
        for scores in scores.chunks_exact_mut(n) {
            softmax_scores(&mut scores[..seen.len()], self.of.softcap);
        }
        out.fill(0.0);
        for stretch in self.values(seen.clone(), after) {
            for (h, out) in out.chunks_mut(share * head_dim).enumerate() {
                let scores = &scores[h * share * n..];
                for (i, out) in out.chunks_mut(QUERIES * head_dim).enumerate() {
                    let scores = &scores[i * QUERIES * n + stretch.at - seen.start..];
                    self.weigh(kv + h, &stretch, scores, n, out);
                }
            }
        }
    }

    /// The query heads of one key head at positions `pos..`. `q` and `out` are rows of all heads.
    fn rows(&self, kv: usize, q: &[f32], pos: usize, out: &mut [f32]) {
        let Shape {
            heads, head_dim, ..
        } = self.shape;
        let (share, width) = (self.shape.share(), heads * head_dim);
        let rows = out.len() / width;
        // Where a query, row by row and head by head of a row, begins.
        let at = |query: usize| query / share * width + (kv * share + query % share) * head_dim;
        let all = self.seen(pos).start..pos + rows;
        let n = all.len().next_multiple_of(BLOCK);
        let mut scores = vec![0f32; QUERIES * n];
        let mut near = vec![0f32; 2 * QUERIES * head_dim];
        let (near_q, near_out) = near.split_at_mut(QUERIES * head_dim);
        for first in (0..rows * share).step_by(QUERIES) {
            let count = QUERIES.min(rows * share - first);
            for (i, near) in near_q.chunks_exact_mut(head_dim).take(count).enumerate() {
                near.copy_from_slice(&q[at(first + i)..][..head_dim]);
            }
            let (near_q, near_out) = (
                &near_q[..count * head_dim],
                &mut near_out[..count * head_dim],
            );
            let last = first + count - 1;
            let seen = self.seen(pos + first / share).start..self.seen(pos + last / share).end;
            for stretch in self.keys(seen.clone()) {
                let scores = &mut scores[stretch.at - seen.start..];
                self.score(kv, &stretch, near_q, scores, n);
            }
            for (i, scores) in scores.chunks_exact_mut(n).take(count).enumerate() {
                let own = self.seen(pos + (first + i) / share);
                let (from, to) = (own.start - seen.start, own.end - seen.start);
                softmax_scores(&mut scores[from..to], self.of.softcap);
                // What another query of these sees and this one does not weighs nothing.
                scores[..from].fill(0.0);
                scores[to..].fill(0.0);
            }
            near_out.fill(0.0);
            for stretch in self.values(seen.clone(), None) {
                let scores = &scores[stretch.at - seen.start..];
                self.weigh(kv, &stretch, scores, n, near_out);
            }
            for (i, near) in near_out.chunks_exact(head_dim).enumerate() {
                out[at(first + i)..][..head_dim].copy_from_slice(near);
            }
        }
    }

    /// Scores of up to [`QUERIES`] queries with a stretch of positions, to the beginning of lines
    /// of `scores` that are `n` apart.
    fn score(&self, kv: usize, at: &Stretch<'a, W>, q: &[f32], scores: &mut [f32], n: usize) {
        let keys = self.head(self.cache.keys, kv, at);
        blocks::scores(self.level, q, keys, self.of.scale, scores, n);
        if let Some(scales) = self.scales(keys) {
            for scores in scores.chunks_mut(n).take(q.len() / self.shape.head_dim) {
                for (score, scale) in scores.iter_mut().zip(&scales[..at.count]) {
                    *score *= scale;
                }
            }
        }
    }

    /// Those of the positions' codes.
    fn scales(&self, rows: blocks::Rows<W>) -> Option<[f32; BLOCK]> {
        W::scale(rows.data, rows.head_dim)?;
        let mut scales = [0.0; BLOCK];
        for (t, to) in scales[..rows.count].iter_mut().enumerate() {
            *to = W::scale(&rows.data[t * rows.stride..], rows.head_dim)?;
        }
        Some(scales)
    }

    /// A head's part of keys or values.
    fn head(&self, all: &'a [W], kv: usize, at: &Stretch<'a, W>) -> blocks::Rows<'a, W> {
        let pitch = self.shape.pitch::<W>();
        let stride = self.shape.kv_heads * pitch;
        let line = |all: &'a [W], row: usize| &all[row * stride + kv * pitch..];
        blocks::Rows {
            data: line(all, self.table.row(at.at)),
            stride,
            head_dim: self.shape.head_dim,
            count: at.count,
            next: at.next.map_or(&[], |(all, row)| line(all, row)),
        }
    }

    /// Adds a stretch's values, as the first of lines of `scores` that are `n` apart weigh them,
    /// to the queries' rows of `out`.
    fn weigh(&self, kv: usize, at: &Stretch<'a, W>, scores: &[f32], n: usize, out: &mut [f32]) {
        let values = self.head(self.cache.values, kv, at);
        let Some(scales) = self.scales(values) else {
            return blocks::weigh(self.level, scores, n, values, out);
        };
        let mut scaled = [0f32; QUERIES * BLOCK];
        let queries = out.len() / self.shape.head_dim;
        let lines = scaled.chunks_exact_mut(BLOCK).take(queries);
        for (scaled, scores) in lines.zip(scores.chunks(n)) {
            for ((to, score), scale) in scaled.iter_mut().zip(&scores[..at.count]).zip(scales) {
                *to = score * scale;
            }
        }
        blocks::weigh(self.level, &scaled, BLOCK, values, out);
    }
}
