//! Splitting work over threads: rayon's natively, helpers in a page. Pieces have fixed sizes, so
//! results never depend on the number of threads.

#[cfg(feature = "native")]
use std::cell::Cell;
#[cfg(feature = "native")]
use std::sync::{Mutex, PoisonError};

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

#[cfg(feature = "native")]
thread_local! {
    /// Whether this thread is in the midst of work that other threads wait for.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` as work that other threads wait for.
#[cfg(feature = "native")]
fn at_work<R>(f: impl FnOnce() -> R) -> R {
    // Also if `f` panics.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            AT_WORK.set(self.0);
        }
    }
    let _before = Before(AT_WORK.replace(true));
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
        scope.spawn_broadcast(move |_, _| {
            // A thread that waits amid its work may find this task, and those who wait for that
            // work would wait for ever: the one that runs `f` may, and a helper that was given work
            // before it came here.
            if AT_WORK.get() {
                return;
            }
            let mut idle = 0u32;
            while !ended.load(Ordering::Acquire) {
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
        at_work(f)
    })
}

/// What is left of two slices that threads cut in step.
#[cfg(feature = "native")]
struct Rest<'a, A, B> {
    /// The number of the first piece.
    first: usize,
    a: &'a mut [A],
    b: &'a mut [B],
}

#[cfg(feature = "native")]
impl<'a, A, B> Rest<'a, A, B> {
    /// The next pieces and the number of the first: many while many are left, that threads seldom
    /// meet here, then one by one, that they end together.
    fn take(&mut self, [a_len, b_len]: [usize; 2], threads: usize) -> Option<Rest<'a, A, B>> {
        let left = self
            .a
            .len()
            .div_ceil(a_len)
            .min(self.b.len().div_ceil(b_len));
        let count = (left / (2 * threads)).max(1).min(left);
        let first = self.first;
        self.first += count;
        (count > 0).then(|| Rest {
            first,
            a: front(&mut self.a, count * a_len),
            b: front(&mut self.b, count * b_len),
        })
    }
}

/// Takes up to `count` elements off the front.
#[cfg(feature = "native")]
fn front<'a, T>(slice: &mut &'a mut [T], count: usize) -> &'a mut [T] {
    let whole = std::mem::take(slice);
    let (taken, rest) = whole.split_at_mut(count.min(whole.len()));
    *slice = rest;
    taken
}

/// [`pieces2`] on this thread and the pool's others.
#[cfg(feature = "native")]
fn share<A: Send, B: Send>(
    a: &mut [A],
    a_len: usize,
    b: &mut [B],
    b_len: usize,
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync + Send,
) {
    let threads = rayon::current_num_threads();
    let helpers = a.len().div_ceil(a_len).min(threads) - 1;
    let rest = Mutex::new(Rest { first: 0, a, b });
    let take = || {
        let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.take([a_len, b_len], threads)
    };
    let work = || {
        while let Some(Rest { first, a, b }) = take() {
            for (i, (a, b)) in a.chunks_mut(a_len).zip(b.chunks_mut(b_len)).enumerate() {
                f(first + i, a, b);
            }
        }
    };
    at_work(|| {
        rayon::in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| at_work(work));
            }
            work();
        });
    });
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
        // Nothing for each piece: such a list takes no memory.
        let mut nothing = vec![(); data.len().div_ceil(len)];
        return share(data, len, &mut nothing, 1, |i, piece, _| f(i, piece));
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
        return share(a, a_len, b, b_len, f);
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
        return map_on_threads(n, f);
    }
    #[cfg(target_arch = "wasm32")]
    if n > 1 && pays(work) {
        return map_on_threads(n, f);
    }
    (0..n).map(f).collect()
}

/// As [`map`], on several threads.
#[cfg(any(feature = "native", target_arch = "wasm32"))]
fn map_on_threads<R: Send>(n: usize, f: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    let mut results: Vec<Option<R>> = (0..n).map(|_| None).collect();
    pieces(&mut results, 1, usize::MAX, |i, result| {
        result[0] = Some(f(i))
    });
    // Each was computed.
    results.into_iter().flatten().collect()
}

#[cfg(all(test, feature = "native"))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn every_piece_is_given_once_and_in_step() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        let pool = pool.expect("three threads");
        for n in [1usize, 2, 3, 7, 64, 1001] {
            // The last piece of either is shorter.
            let (mut a, mut b) = (vec![0; 3 * n - 1], vec![0; 5 * n - 3]);
            let sizes = pool.install(|| {
                pieces2(&mut a, 3, &mut b, 5, usize::MAX, |i, a, b| {
                    a.iter_mut().chain(b).for_each(|x| *x += i + 1);
                });
                map(n, usize::MAX, |i| i)
            });
            assert!(a.iter().enumerate().all(|(at, x)| *x == at / 3 + 1), "{n}");
            assert!(b.iter().enumerate().all(|(at, x)| *x == at / 5 + 1), "{n}");
            assert_eq!(sizes, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn helpers_that_come_late_hold_up_nothing() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
        let pool = pool.expect("two threads");
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut data = vec![0u32; 64];
            let mut rounds = 0;
            let start = Instant::now();
            // All take half a minute on two idle cores, and minutes on busy ones.
            while rounds < 100_000 && start.elapsed() < Duration::from_secs(15) {
                rounds += 1;
                pool.install(|| {
                    awake(|| {
                        pieces(&mut data, 1, usize::MAX, |i, piece| {
                            // The helper's half takes longer, so that part of it is taken back.
                            for _ in 0..i * 4 {
                                std::hint::spin_loop();
                            }
                            piece[0] += i as u32;
                        });
                    });
                });
            }
            let _ = done.send((data, rounds));
        });
        let wait = Duration::from_secs(300);
        let (data, rounds) = ended
            .recv_timeout(wait)
            .expect("the threads wait for each other");
        assert!(
            data.iter()
                .enumerate()
                .all(|(i, n)| *n == i as u32 * rounds)
        );
    }
}
