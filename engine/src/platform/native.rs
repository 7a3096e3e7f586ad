//! Native platform.

/// Threads this machine runs at once.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Let other tasks of this thread run. Natively there are none.
pub async fn yield_now() {}
