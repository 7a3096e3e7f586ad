//! Maps scored on several ranks. Rank 0 decides what is measured and keeps the journal; the others
//! measure what it tells them to.

use serde::{Deserialize, Serialize};

use super::evaluators::by_prefix;
use super::space::Point;
use super::strategy::Evaluate;
use crate::error::{Error, Result};
use ternary_common::bytes::LocalFuture;
use ternary_common::exact::Exact;
use ternary_common::ranks::{LinkError, Ranks};

/// What rank 0 tells the others.
#[derive(Serialize, Deserialize)]
enum Word {
    /// Each measures its share of these.
    Losses(Vec<Point>),
    /// The search is over.
    End,
}

fn failed(cause: impl std::fmt::Display) -> Error {
    Error::Evaluator(cause.to_string())
}

fn link(cause: LinkError) -> Error {
    failed(format!(
        "{cause}; --resume goes on with what is measured, with any number of ranks"
    ))
}

/// Places of the points that a rank measures: neighbors, which have layers in common.
fn share(points: &[Point], rank: usize, size: usize) -> Vec<usize> {
    let order = by_prefix(points);
    let each = order.len().div_ceil(size).max(1);
    order.chunks(each).nth(rank).unwrap_or_default().to_vec()
}

/// Measure a rank's share of `points`, and let rank 0 have it.
async fn measure(
    inner: &mut dyn Evaluate,
    ranks: &mut Ranks,
    points: &[Point],
) -> Result<Vec<Vec<u8>>> {
    let mine = share(points, ranks.rank(), ranks.size());
    let mine: Vec<Point> = mine.into_iter().map(|at| points[at].clone()).collect();
    let losses = if mine.is_empty() {
        Vec::new()
    } else {
        inner.losses(&mine).await?
    };
    let losses: Vec<Exact> = losses.into_iter().map(Exact).collect();
    let bytes = serde_json::to_vec(&losses).map_err(failed)?;
    ranks.gather(bytes).map_err(link)
}

/// An evaluator whose samples are measured on all ranks, for rank 0. The others [`serve()`] it
/// until it is dropped.
pub struct Together<E> {
    inner: E,
    ranks: Ranks,
}

impl<E: Evaluate> Together<E> {
    /// `inner` measures this rank's share, and every loss on the whole text.
    pub fn new(inner: E, ranks: Ranks) -> Self {
        Together { inner, ranks }
    }

    fn tell(&mut self, word: &Word) -> Result<()> {
        let bytes = serde_json::to_vec(word).map_err(failed)?;
        self.ranks.tell(bytes).map_err(link)?;
        Ok(())
    }
}

impl<E> Drop for Together<E> {
    fn drop(&mut self) {
        // A link that failed has been told of; the others end by themselves then.
        let _ = serde_json::to_vec(&Word::End).map(|bytes| self.ranks.tell(bytes));
    }
}

impl<E: Evaluate> Evaluate for Together<E> {
    fn losses<'a>(&'a mut self, points: &'a [Point]) -> LocalFuture<'a, Result<Vec<f64>>> {
        Box::pin(async move {
            self.tell(&Word::Losses(points.to_vec()))?;
            let (inner, ranks) = (&mut self.inner, &mut self.ranks);
            let found = measure(inner, ranks, points).await?;
            let mut losses = vec![f64::NAN; points.len()];
            for (rank, bytes) in found.iter().enumerate() {
                let theirs: Vec<Exact> = serde_json::from_slice(bytes).map_err(failed)?;
                let places = share(points, rank, found.len());
                if theirs.len() != places.len() {
                    return Err(Error::LossCount {
                        asked: places.len(),
                        given: theirs.len(),
                    });
                }
                for (at, Exact(loss)) in places.into_iter().zip(theirs) {
                    losses[at] = loss;
                }
            }
            Ok(losses)
        })
    }

    fn full_loss<'a>(&'a mut self, point: &'a Point) -> LocalFuture<'a, Result<f64>> {
        self.inner.full_loss(point)
    }
}

/// Measure what rank 0 tells, on another rank, until the search is over.
pub async fn serve(inner: &mut dyn Evaluate, ranks: &mut Ranks) -> Result<()> {
    loop {
        let word = ranks.tell(Vec::new()).map_err(link)?;
        match serde_json::from_slice(&word).map_err(failed)? {
            Word::Losses(points) => {
                measure(inner, ranks, &points).await?;
            }
            Word::End => return Ok(()),
        }
    }
}
