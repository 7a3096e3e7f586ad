//! Ranks that reach each other through MPI.

use std::sync::atomic::Ordering;

use mpi::Threading;
use mpi::environment::Universe;
use mpi::point_to_point::Status;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use ternary::ranks::{Inbox, Link, LinkError, Patience, Purpose};

const PURPOSES: [Purpose; 3] = [Purpose::Sum, Purpose::Total, Purpose::Word];

/// All calls of MPI are made by the thread that opened it.
pub struct MpiLink {
    /// Says good-bye to MPI when it is dropped.
    universe: Option<Universe>,
    world: SimpleCommunicator,
    inbox: Inbox,
}

impl MpiLink {
    /// Join the others that were started.
    pub fn open() -> Result<Self, LinkError> {
        let failed = || LinkError::System("MPI was begun twice in this process".into());
        let (universe, _) =
            mpi::initialize_with_threading(Threading::Funneled).ok_or_else(failed)?;
        Ok(MpiLink {
            world: universe.world(),
            universe: Some(universe),
            inbox: Inbox::default(),
        })
    }
}

/// Take in what has come.
fn take_in(world: &SimpleCommunicator, inbox: &mut Inbox) {
    while let Some((message, status)) = world.any_process().immediate_matched_probe() {
        let mut bytes = vec![0u8; length(&status)];
        message.matched_receive_into(&mut bytes[..]);
        let purpose = usize::try_from(status.tag()).ok();
        if let (Some(purpose), Ok(from)) = (
            purpose.and_then(|tag| PURPOSES.get(tag)),
            usize::try_from(status.source_rank()),
        ) {
            inbox.put(from, *purpose, bytes);
        }
    }
}

fn length(status: &Status) -> usize {
    usize::try_from(status.count(u8::equivalent_datatype())).unwrap_or(0)
}

impl Link for MpiLink {
    fn rank(&self) -> usize {
        usize::try_from(self.world.rank()).unwrap_or(0)
    }

    fn size(&self) -> usize {
        usize::try_from(self.world.size()).unwrap_or(1)
    }

    fn send(&mut self, to: usize, purpose: Purpose, bytes: &[u8]) -> Result<(), LinkError> {
        let tag = PURPOSES.iter().position(|p| *p == purpose).unwrap_or(0);
        let (world, inbox) = (&self.world, &mut self.inbox);
        let receiver = world.process_at_rank(to as i32);
        mpi::request::scope(|scope| {
            let mut request = receiver.immediate_send_with_tag(scope, bytes, tag as i32);
            let mut patience = Patience::default();
            while let Err(unfinished) = request.test() {
                request = unfinished;
                take_in(world, inbox);
                patience.wait();
            }
        });
        Ok(())
    }

    fn poll(&mut self, from: usize, purpose: Purpose) -> Result<Option<Vec<u8>>, LinkError> {
        if let Some(message) = self.inbox.take(from, purpose) {
            return Ok(Some(message));
        }
        take_in(&self.world, &mut self.inbox);
        Ok(self.inbox.take(from, purpose))
    }

    fn idle(&mut self) {
        take_in(&self.world, &mut self.inbox);
    }

    fn abandon(&mut self) {
        std::mem::forget(self.universe.take());
    }
}

impl Drop for MpiLink {
    fn drop(&mut self) {
        if !super::DONE.load(Ordering::Relaxed) {
            self.abandon();
        }
    }
}
