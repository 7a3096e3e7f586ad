//! How ranks reach each other: a trait, and ranks that are threads of one process.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};

/// What a message is for. Messages of one purpose between two ranks keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A sum that goes from rank to rank.
    Sum,
    /// A finished sum on its way to all.
    Total,
    /// What rank 0 tells the others.
    Word,
    /// The end of a rank.
    Farewell,
}

/// Why a message did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The other process is no more.
    #[error("rank {0} has ended")]
    Gone(usize),
    /// The ranks do not do the same.
    #[error(
        "rank {from} sent {found} bytes where {expected} were due: start all ranks with the same program, settings and data"
    )]
    Length {
        /// Who sent it.
        from: usize,
        /// Bytes that came.
        found: usize,
        /// Bytes that the receiver waits for.
        expected: usize,
    },
    /// This rank ends.
    #[error("this rank ended in the middle of a step")]
    Abandoned,
    /// What the system says.
    #[error("{0}")]
    System(String),
}

/// Messages from process to process. One thread of a rank calls it.
pub trait Link {
    /// Of this process, counted from 0.
    fn rank(&self) -> usize;

    /// Ranks in all.
    fn size(&self) -> usize;

    /// Send a message to another rank. It may wait for the receiver; messages to this rank are
    /// taken in meanwhile, so that two that send to each other do not wait forever.
    fn send(&mut self, to: usize, purpose: Purpose, bytes: &[u8]) -> Result<(), LinkError>;

    /// The next message of this purpose from another rank, if it has come.
    fn poll(&mut self, from: usize, purpose: Purpose) -> Result<Option<Vec<u8>>, LinkError>;

    /// Called now and then while there is nothing to send or to wait for.
    fn idle(&mut self) {}

    /// The rank ends in the middle of something: the others are not to be waited for.
    fn abandon(&mut self) {}
}

/// Messages that came before they were asked for.
#[derive(Debug, Default)]
pub struct Inbox(VecDeque<(usize, Purpose, Vec<u8>)>);

impl Inbox {
    /// Keep a message.
    pub fn put(&mut self, from: usize, purpose: Purpose, bytes: Vec<u8>) {
        self.0.push_back((from, purpose, bytes));
    }

    /// The oldest message of this purpose from a rank.
    pub fn take(&mut self, from: usize, purpose: Purpose) -> Option<Vec<u8>> {
        let wanted = |m: &(usize, Purpose, Vec<u8>)| (m.0, m.1) == (from, purpose);
        let at = self.0.iter().position(wanted)?;
        self.0.remove(at).map(|(_, _, bytes)| bytes)
    }
}

type Message = (usize, Purpose, Vec<u8>);

/// A rank that is a thread of this process.
#[derive(Debug)]
pub struct LocalLink {
    rank: usize,
    others: Vec<Sender<Message>>,
    incoming: Receiver<Message>,
    inbox: Inbox,
}

impl LocalLink {
    /// Ranks that know each other, one for each thread.
    pub fn all(size: usize) -> Vec<LocalLink> {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..size).map(|_| channel()).unzip();
        let links = receivers.into_iter().enumerate();
        links
            .map(|(rank, incoming)| LocalLink {
                rank,
                others: senders.clone(),
                incoming,
                inbox: Inbox::default(),
            })
            .collect()
    }
}

impl Link for LocalLink {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.others.len()
    }

    fn send(&mut self, to: usize, purpose: Purpose, bytes: &[u8]) -> Result<(), LinkError> {
        self.others[to]
            .send((self.rank, purpose, bytes.to_vec()))
            .map_err(|_| LinkError::Gone(to))
    }

    fn poll(&mut self, from: usize, purpose: Purpose) -> Result<Option<Vec<u8>>, LinkError> {
        for (from, purpose, message) in self.incoming.try_iter() {
            self.inbox.put(from, purpose, message);
        }
        match self.inbox.take(from, purpose) {
            Some(message) => Ok(Some(message)),
            None if self.inbox.take(from, Purpose::Farewell).is_some() => {
                Err(LinkError::Gone(from))
            }
            None => Ok(None),
        }
    }
}

impl Drop for LocalLink {
    fn drop(&mut self) {
        for other in &self.others {
            // Whoever has ended before needs no farewell.
            let _ = other.send((self.rank, Purpose::Farewell, Vec::new()));
        }
    }
}
