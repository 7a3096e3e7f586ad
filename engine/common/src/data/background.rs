//! Work done ahead on a thread of its own.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::{BatchSource, Batches, Windows};
use crate::error::{Error, Result};

/// A thread that makes items until it fails or is dropped, `ahead` of them beside the one it is
/// making.
#[derive(Debug)]
pub(super) struct Background<T> {
    items: Option<Receiver<Result<T>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Background<T> {
    pub(super) fn new(
        name: &str,
        ahead: usize,
        mut make: impl FnMut() -> Result<T> + Send + 'static,
    ) -> Result<Self> {
        let (send, items): (SyncSender<Result<T>>, _) = sync_channel(ahead);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                loop {
                    let item = make();
                    let failed = item.is_err();
                    if send.send(item).is_err() || failed {
                        return;
                    }
                }
            })
            .map_err(|e| Error::Data(format!("cannot start the thread `{name}`: {e}")))?;
        Ok(Background {
            items: Some(items),
            thread: Some(thread),
        })
    }

    pub(super) fn next(&mut self) -> Result<T> {
        self.items
            .as_ref()
            .and_then(|r| r.recv().ok())
            .unwrap_or_else(|| {
                Err(Error::Data(
                    "the thread that reads the data has ended".into(),
                ))
            })
    }
}

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails and it ends.
        self.items = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported as the end of the thread.
            let _ = thread.join();
        }
    }
}

/// Batches read ahead, so that a training never waits for the disk to deliver a page of a mapped
/// file.
#[derive(Debug)]
pub struct Prefetch {
    batches: Batches,
    ready: Option<Background<Windows>>,
    /// First window and number of windows of the next batch that `ready` gives.
    next: (u64, usize),
}

/// Batches held ready.
const AHEAD: usize = 4;

impl Prefetch {
    /// Starts the thread, which fills the next batch while this one is trained on.
    pub fn new(batches: Batches) -> Self {
        Prefetch {
            batches,
            ready: None,
            next: (0, 0),
        }
    }
}

impl BatchSource for Prefetch {
    fn fill(&mut self, first: u64, count: usize, out: &mut Windows) -> Result<()> {
        // The first request, or one out of turn: read ahead from there.
        let ready = match &mut self.ready {
            Some(ready) if self.next == (first, count) => ready,
            ready => {
                let batches = self.batches.clone();
                let mut at = first;
                ready.insert(Background::new("prefetch", AHEAD, move || {
                    let mut windows = Windows::default();
                    batches.fill(at, count, &mut windows)?;
                    at += count as u64;
                    Ok(windows)
                })?)
            }
        };
        out.append(&ready.next()?);
        self.next = (first + count as u64, count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TokenData;

    #[test]
    fn prefetched_batches_are_the_same_in_any_order_of_asking() {
        let all: Vec<u32> = (0..1000).collect();
        let data = TokenData::from_ids(&all, 1000).unwrap();
        let batches = Batches::new(&data, 10, 3, 1000).unwrap();
        let mut prefetch = Prefetch::new(batches.clone());
        for (first, count) in [(0, 4), (4, 4), (8, 4), (100, 2), (102, 2), (104, 5), (0, 4)] {
            let (mut a, mut b) = (Windows::default(), Windows::default());
            batches.fill(first, count, &mut a).unwrap();
            prefetch.fill(first, count, &mut b).unwrap();
            assert_eq!(a, b);
        }
    }

    #[test]
    fn errors_come_through_and_stay() {
        let data = TokenData::from_ids(&[9; 100], 10).unwrap();
        let mut prefetch = Prefetch::new(Batches::new(&data, 10, 0, 5).unwrap());
        for _ in 0..2 {
            let e = prefetch.fill(0, 1, &mut Windows::default()).unwrap_err();
            assert!(e.to_string().contains("vocab_size is 5"), "{e}");
        }
    }
}
