//! Processes that `mpirun` started together.

#[cfg(feature = "mpi")]
mod mpi_link;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use ternary::ranks::Ranks;

use crate::commands::search::Unsatisfied;
use crate::commands::watch::Interrupted;
use crate::output::{self, errln};

/// How long another rank waits with what it has to say: what all of them fail at, rank 0 says, and
/// then all are ended.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// Whether the ranks' common work is done.
static DONE: AtomicBool = AtomicBool::new(false);

/// The common work is done: MPI may wait until all have said good-bye. After an error it must not,
/// since the others wait for this rank.
pub fn done() {
    DONE.store(true, Ordering::Relaxed);
}

/// The number of this process and how many there are, as what started them says.
fn launched() -> Option<(usize, usize)> {
    // Open MPI; MPICH, Intel MPI and Slurm's PMI-2; Slurm's PMIx.
    let variables = [
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        ("PMI_RANK", "PMI_SIZE"),
        ("PMIX_RANK", "SLURM_NTASKS"),
    ];
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let found = variables.iter();
    let mut found = found.filter_map(|(rank, size)| number(rank).zip(number(size)));
    found.next()
}

/// Refuse to do the same thing several times over.
pub fn alone(command: &str) -> Result<()> {
    match launched() {
        Some((rank, size)) if size > 1 => {
            if rank > 0 {
                output::be_quiet();
            }
            bail!("{command} is work for one process, and {size} were started")
        }
        _ => Ok(()),
    }
}

/// Do `work` as one of the processes that were started together, if they were. Rank 0 speaks for
/// all, but for what goes wrong on one only.
pub fn run(work: impl FnOnce(Option<Ranks>) -> Result<()>) -> Result<()> {
    let Some((rank, size)) = launched().filter(|(_, size)| *size > 1) else {
        return work(None);
    };
    if rank > 0 {
        output::be_quiet();
    }
    let result = open().and_then(|ranks| work(Some(ranks)));
    match result {
        Err(e) if !e.is::<Interrupted>() && !e.is::<Unsatisfied>() => {
            if rank > 0 {
                std::thread::sleep(FIRST_WORD);
                output::be_loud();
            }
            errln!(
                "error on rank {rank} of {size}: {}",
                output::shortened(&format!("{e:#}"))
            );
            // Whoever ends without having said good-bye to MPI ends all.
            output::exit(1)
        }
        other => other,
    }
}

#[cfg(feature = "mpi")]
fn open() -> Result<Ranks> {
    Ok(Ranks::start(mpi_link::MpiLink::open)?)
}

#[cfg(not(feature = "mpi"))]
fn open() -> Result<Ranks> {
    bail!(
        "this onebit was built without MPI, so the processes cannot train together: build it with `cargo build --release -p onebit --features mpi`, or start one process"
    )
}
