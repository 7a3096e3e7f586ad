//! Training windows in a random order that is never stored: position in the data follows from the
//! seed and the step alone, so resuming needs nothing but the step.

use super::source::{Windows, push_window, too_short};
use super::{BatchSource, TokenData};
use crate::error::Result;
use ternary_core::rng::{Rng, permute};

/// Cuts windows of `seq + 1` tokens; each epoch starts at another phase and visits every window
/// once, in another order.
#[derive(Clone, Debug)]
pub struct Batches {
    data: TokenData,
    seq: usize,
    seed: u64,
    vocab: u32,
    /// Windows that follow each other in the data and stay together.
    together: u64,
}

impl Batches {
    /// Windows of `seq` tokens of `data` for a model with `vocab` tokens; `seed` decides their
    /// order.
    ///
    /// # Errors
    /// Data of fewer than `2 * seq + 1` tokens.
    pub fn new(data: &TokenData, seq: usize, seed: u64, vocab: usize) -> Result<Self> {
        // A random phase may skip up to seq tokens.
        if data.len() < 2 * seq + 1 {
            return Err(too_short(data.len(), seq));
        }
        Ok(Batches {
            data: data.clone(),
            seq,
            seed,
            vocab: vocab as u32,
            together: 1,
        })
    }

    /// The windows of pairs, as `load_pairs` lays them out: the two of a pair follow each other.
    ///
    /// # Errors
    /// No whole pair.
    pub fn of_pairs(data: &TokenData, seq: usize, seed: u64, vocab: usize) -> Result<Self> {
        Ok(Batches {
            together: 2,
            ..Batches::new(data, seq, seed, vocab)?
        })
    }

    /// Windows of an epoch.
    fn per_epoch(&self) -> u64 {
        let phases = if self.together == 1 { self.seq - 1 } else { 0 };
        let windows = ((self.data.len() - 1 - phases) / self.seq) as u64;
        windows / self.together * self.together
    }

    /// Append windows `first..first + count` of the endless order.
    pub fn fill(&self, first: u64, count: usize, out: &mut Windows) -> Result<()> {
        let n = self.per_epoch();
        for i in first..first + count as u64 {
            let (epoch, index) = (i / n, i % n);
            let mut rng = Rng::counted(self.seed, &[epoch]);
            let drawn = rng.below(self.seq as u64) as usize;
            let t = self.together;
            let phase = if t == 1 { drawn } else { 0 };
            let window = permute(index / t, n / t, rng.next_u64()) * t + index % t;
            self.window(phase + window as usize * self.seq, out)?;
        }
        Ok(())
    }

    /// `count` windows evenly spaced over the data: the same ones each time, for validation.
    pub fn fixed(&self, count: usize) -> Vec<usize> {
        let t = self.together as usize;
        if t > 1 {
            let pairs = (self.data.len() - 1) / (t * self.seq);
            let all = pairs.min((count / t).max(1));
            let first = (0..all).map(|i| i * pairs / all * t * self.seq);
            return first
                .flat_map(|at| (0..t).map(move |i| at + i * self.seq))
                .collect();
        }
        let last = self.data.len() - self.seq - 1;
        let all = (last / self.seq + 1).min(count.max(1));
        (0..all)
            .map(|i| i * last / all.max(1) / self.seq * self.seq)
            .collect()
    }

    /// Append the window that starts at token `at`.
    pub fn window(&self, at: usize, out: &mut Windows) -> Result<()> {
        let mut window = Vec::with_capacity(self.seq + 1);
        self.data.read(at, self.seq + 1, &mut window)?;
        push_window(&window, self.vocab, out)
    }
}

impl BatchSource for Batches {
    fn fill(&mut self, first: u64, count: usize, out: &mut Windows) -> Result<()> {
        Batches::fill(self, first, count, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_every_window_once_and_targets_are_shifted() {
        let all: Vec<u32> = (0..1000).collect();
        let data = TokenData::from_ids(&all, 1000).unwrap();
        let b = Batches::new(&data, 10, 3, 1000).unwrap();
        let n = b.per_epoch();
        let mut all = Windows::default();
        b.fill(0, n as usize, &mut all).unwrap();
        let Windows {
            ids,
            targets,
            positions,
        } = all;
        assert!(
            positions
                .iter()
                .enumerate()
                .all(|(i, p)| i as u32 % 10 == *p)
        );
        assert!(ids.iter().zip(&targets).all(|(a, b)| a + 1 == *b));
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), ids.len());
        assert_ne!(sorted, ids);
        let mut again = Windows::default();
        b.fill(5, 3, &mut again).unwrap();
        assert_eq!(again.ids, ids[50..80]);
    }

    #[test]
    fn too_little_data_and_foreign_ids_are_errors() {
        let data = TokenData::from_ids(&[1, 2, 3], 10).unwrap();
        assert!(Batches::new(&data, 10, 0, 10).is_err());
        let data = TokenData::from_ids(&[9; 100], 10).unwrap();
        let b = Batches::new(&data, 10, 0, 5).unwrap();
        let e = b.window(0, &mut Windows::default()).unwrap_err();
        assert!(e.to_string().contains("vocab_size is 5"), "{e}");
    }
}
