//! Hostile files for every parser of `ternary`.
//!
//! A target has a good file of its kind and a way to read it as users' programs do, beyond parsing:
//! what is accepted is exported, encoded, rendered. Each execution changes a good file in a few
//! places, knowing its structure: numbers of its JSON become too large, fields change places,
//! lengths in its binary parts lie, and checksums are made right again, so that a reader does not
//! stop at them. An execution fails by a panic, by a signal (which ends the process), by taking
//! longer than [`SLOWEST`], or by holding more memory than [`most_memory`].

mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;

pub use mutate::Mutator;
pub use targets::{Target, all};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// An execution may take so long.
pub const SLOWEST: Duration = Duration::from_secs(5);

/// Memory that reading a file of so many bytes may hold: ten times the file, and what the smallest
/// file needs (a vocabulary's tables, the buffers of a reader).
pub fn most_memory(file: usize) -> usize {
    10 * file + (8 << 20)
}

/// What many executions of a target showed.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub executions: u64,
    /// Files that were accepted although they were changed.
    pub accepted: u64,
    pub slowest: Duration,
    /// The most memory held, beyond what was held before, and the size of that file.
    pub most_memory: (usize, usize),
    /// What went wrong, with the number of the execution.
    pub failures: Vec<(u64, String)>,
}

/// Execute `target` with the changes numbered `from..to`, or until `until`.
pub fn run(target: &mut Target, from: u64, to: u64, until: Instant) -> Figures {
    let mut figures = Figures::default();
    for number in from..to {
        if Instant::now() >= until {
            break;
        }
        let mut mutator = Mutator::new(number);
        let file = (target.make)(&mut mutator);
        MEMORY.reset_peak_usage();
        let (before, begun) = (MEMORY.current_usage(), Instant::now());
        let result = catch_unwind(AssertUnwindSafe(|| (target.read)(&file)));
        let (mut took, mut held) = (begun.elapsed(), MEMORY.peak_usage().saturating_sub(before));
        if held > most_memory(file.len()) {
            // A library's table of everything it has ever read may just have grown.
            MEMORY.reset_peak_usage();
            let before = MEMORY.current_usage();
            let _ = catch_unwind(AssertUnwindSafe(|| (target.read)(&file)));
            held = held.min(MEMORY.peak_usage().saturating_sub(before));
        }
        if took > SLOWEST {
            // The machine may have been busy with something else.
            let again = Instant::now();
            let _ = catch_unwind(AssertUnwindSafe(|| (target.read)(&file)));
            took = took.min(again.elapsed());
        }
        figures.executions += 1;
        figures.slowest = figures.slowest.max(took);
        if held > figures.most_memory.0 {
            figures.most_memory = (held, file.len());
        }
        let failure = match result {
            Err(_) => Some("panic".to_owned()),
            Ok(_) if took > SLOWEST => Some(format!("{:.1} s", took.as_secs_f64())),
            Ok(_) if held > most_memory(file.len()) => Some(format!(
                "{} kB of memory for a file of {} bytes",
                held / 1000,
                file.len()
            )),
            Ok(accepted) => {
                figures.accepted += u64::from(accepted);
                None
            }
        };
        figures.failures.extend(failure.map(|what| (number, what)));
    }
    figures
}
