//! Splitting work over threads: rayon's natively, helpers in a page. Pieces have fixed sizes, so
//! results never depend on the number of threads.

#[cfg(feature = "native")]
use rayon::prelude::*;

/// How often a thread looks for work in vain before it lets other programs run.
#[cfg(feature = "native")]
const PATIENCE: u32 = 1 << 10;

/// Whether `work` elementary operations pay for a fork, which costs about as much as 32,768 of
/// them.
fn pays(work: usize) -> bool {
    work >= 1 << 15 && threads() > 1
}

/// The product of sizes, as an amount of work: a page's numbers have 32 bits.
pub fn work<const N: usize>(sizes: [usize; N]) -> usize {
    sizes.into_iter().fold(1, usize::saturating_mul)
}

/// Threads that share the work. What is computed must not depend on it, only how it is cut.
pub fn threads() -> usize {
    #[cfg(feature = "native")]
    return rayon::current_num_threads();
    #[cfg(target_arch = "wasm32")]
    return super::at_work();
    #[cfg(not(any(feature = "native", target_arch = "wasm32")))]
    1
}

#[cfg(target_arch = "wasm32")]
pub use super::on;
/// Runs `f` on this thread; pools limit those of their own.
#[cfg(not(target_arch = "wasm32"))]
pub fn on<R>(_threads: usize, f: impl FnOnce() -> R) -> R {
    f()
}

/// Runs `f` with the pool's other threads looking for its work all the while: waking one takes
/// longer than many a piece of work does. They stop when it ends.
#[cfg(feature = "native")]
pub fn awake<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    use std::sync::atomic::{AtomicBool, Ordering};
    if rayon::current_num_threads() == 1 {
        return f();
    }
    let leader = rayon::current_thread_index();
    let done = AtomicBool::new(false);
    // Also if `f` panics: the scope waits for the others.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    rayon::in_place_scope(|scope| {
        let ended = &done;
        scope.spawn_broadcast(move |_, thread| {
            let mut idle = 0u32;
            // The thread that runs `f` may find its own task while it waits for another's.
            while Some(thread.index()) != leader && !ended.load(Ordering::Acquire) {
                match rayon::yield_now() {
                    Some(rayon::Yield::Executed) => idle = 0,
                    _ => idle += 1,
                }
                // A thread that finds nothing for long leaves the processor to other programs.
                if idle < PATIENCE {
                    std::hint::spin_loop();
                } else {
                    std::thread::yield_now();
                }
            }
        });
        let _done = Done(&done);
        f()
    })
}

/// Call `f(index, piece)` for each `len`-long piece of `data`; in parallel when `work` (elementary
/// operations in all) pays for it.
pub fn pieces<T: Send>(
    data: &mut [T],
    len: usize,
    work: usize,
    f: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    #[cfg(feature = "native")]
    if data.len() > len && pays(work) {
        data.par_chunks_mut(len)
            .enumerate()
            .for_each(|(i, piece)| f(i, piece));
        return;
    }
    #[cfg(target_arch = "wasm32")]
    if data.len() > len && pays(work) {
        return super::pieces(data, len, f);
    }
    for (i, piece) in data.chunks_mut(len).enumerate() {
        f(i, piece);
    }
}

/// As [`pieces`], over two slices cut in step.
pub fn pieces2<A: Send, B: Send>(
    a: &mut [A],
    a_len: usize,
    b: &mut [B],
    b_len: usize,
    work: usize,
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync + Send,
) {
    #[cfg(feature = "native")]
    if a.len() > a_len && pays(work) {
        a.par_chunks_mut(a_len)
            .zip(b.par_chunks_mut(b_len))
            .enumerate()
            .for_each(|(i, (a, b))| f(i, a, b));
        return;
    }
    #[cfg(target_arch = "wasm32")]
    if a.len() > a_len && pays(work) {
        return super::pieces2(a, a_len, b, b_len, f);
    }
    for (i, (a, b)) in a.chunks_mut(a_len).zip(b.chunks_mut(b_len)).enumerate() {
        f(i, a, b);
    }
}

/// Call `f(i)` for `i` in `0..n` and collect the results in order.
pub fn map<R: Send>(n: usize, work: usize, f: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    #[cfg(feature = "native")]
    if n > 1 && pays(work) {
        return (0..n).into_par_iter().map(f).collect();
    }
    #[cfg(target_arch = "wasm32")]
    if n > 1 && pays(work) {
        let mut results: Vec<Option<R>> = (0..n).map(|_| None).collect();
        super::pieces(&mut results, 1, |i, result| result[0] = Some(f(i)));
        // Each was computed.
        return results.into_iter().flatten().collect();
    }
    (0..n).map(f).collect()
}
