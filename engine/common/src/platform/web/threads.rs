//! Threads of a page: workers that run this same program over the same memory.
//!
//! Every program here has a memory that workers can share, and its script (`worker-start.js`)
//! starts helpers that enter [`help`]. The compiler knows nothing of it: stable Rust has no
//! standard library for WebAssembly with atomic instructions, so this program is compiled for one
//! thread, and what threads agree on goes through the script's `Atomics` (`threads` below). Calls
//! out of the program are barriers to the compiler, and `Atomics` order everything before and after
//! them for the engine that runs it.
//!
//! What one thread takes for granted therefore does not hold in helpers: a `thread_local!` is one
//! variable for all, a `Mutex` of the standard library knows no waiting, and nothing of JavaScript
//! may be held (each thread has a table of its own). Helpers run nothing but the closures given to
//! [`each`], which compute, and allocate by [`Allocator`].

use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};
use std::alloc::System;

use wasm_bindgen::prelude::wasm_bindgen;

/// More are never started.
const MOST: usize = 64;

/// How often a helper looks for work in vain before it sleeps. One look takes about 10 ns.
const PATIENCE: u32 = 1 << 16;

/// Pieces are handed out so many times a thread, in runs: each handing out is a call.
const RUNS: usize = 8;

#[wasm_bindgen]
extern "C" {
    /// Number of threads that there may be at most.
    #[wasm_bindgen(js_namespace = threads)]
    fn possible() -> u32;
    /// Starts so many helpers; each enters [`help`] when it is there.
    #[wasm_bindgen(js_namespace = threads)]
    fn start(helpers: u32);
    /// This thread's: 0 for the one that was there first.
    #[wasm_bindgen(js_namespace = threads)]
    fn number() -> u32;
    #[wasm_bindgen(js_namespace = threads)]
    fn load(at: u32) -> i32;
    #[wasm_bindgen(js_namespace = threads)]
    fn store(at: u32, value: i32);
    /// The value before.
    #[wasm_bindgen(js_namespace = threads)]
    fn add(at: u32, value: i32) -> i32;
    /// Stores 1 where 0 is; the value before.
    #[wasm_bindgen(js_namespace = threads)]
    fn take(at: u32) -> i32;
    /// Sleeps until [`wake`], unless another value is there.
    #[wasm_bindgen(js_namespace = threads)]
    fn sleep(at: u32, value: i32);
    #[wasm_bindgen(js_namespace = threads)]
    fn wake(at: u32);
    #[wasm_bindgen(js_namespace = console)]
    fn error(why: &str);
}

/// A word that all threads see alike, on a cache line of its own.
#[repr(align(64))]
struct Word(UnsafeCell<i32>);

// SAFETY: only its address is used here; what it holds is read and written by `Atomics`.
unsafe impl Sync for Word {}

impl Word {
    const fn new() -> Self {
        Word(UnsafeCell::new(0))
    }

    /// Its place in an `Int32Array` over the memory.
    fn at(&self) -> u32 {
        (self.0.get() as usize / size_of::<i32>()) as u32
    }
}

/// Helpers that are there.
static HELPERS: Word = Word::new();
/// The number of the job that helpers may enter, 0 while there is none.
static OPEN: Word = Word::new();
/// Helpers inside a job.
static INSIDE: Word = Word::new();
/// The job's next piece.
static NEXT: Word = Word::new();
/// Helpers that sleep until [`OPEN`] changes.
static ASLEEP: Word = Word::new();
/// 1 while helpers are not to sleep.
static AWAKE: Word = Word::new();
/// 1 once a helper has failed.
static FAILED: Word = Word::new();
/// 1 while a thread is in the allocator.
static ALLOCATING: Word = Word::new();

/// What helpers read once they are inside a job.
#[derive(Clone, Copy)]
struct Job {
    run: *const (dyn Fn(usize) + Sync),
    pieces: usize,
    /// Pieces handed out at a time.
    run_length: usize,
    /// Threads with higher numbers stay out.
    threads: usize,
}

/// What only the first thread writes, and only while no helper is inside a job.
struct First<T>(Cell<T>);

// SAFETY: written by the first thread while no helper is inside a job, read by helpers inside one;
// `Atomics` on OPEN and INSIDE order the two.
unsafe impl<T> Sync for First<T> {}

static JOB: First<Option<Job>> = First(Cell::new(None));
static LAST_JOB: First<i32> = First(Cell::new(0));
static STARTED: First<bool> = First(Cell::new(false));
static LIMIT: First<usize> = First(Cell::new(MOST));

/// Threads that a page uses if nobody says how many: one where its site does not isolate it from
/// others. Browsers count hardware threads, and two of those often share a core.
pub fn threads() -> usize {
    match possible() as usize {
        most @ 0..=2 => most.max(1),
        most => most.div_ceil(2).clamp(2, MOST),
    }
}

/// Threads that share a job now.
pub fn at_work() -> usize {
    if STARTED.0.get() {
        LIMIT.0.get().min(1 + load(HELPERS.at()) as usize)
    } else {
        1
    }
}

/// Starts helpers for `threads` threads in all, or as many as there may be; says how many those
/// are. Helpers come later, when the script's event loop is let through. More than the first time
/// are never started.
pub fn start_helpers(threads: usize) -> usize {
    let threads = threads.min(possible() as usize).clamp(1, MOST);
    if threads > 1 && !STARTED.0.replace(true) {
        start(threads as u32 - 1);
    }
    threads
}

/// Whether this is not the program's first thread, whose `main` has run already.
pub fn is_helper() -> bool {
    number() != 0
}

/// Tells the console why a helper ends. A hook for panics must do nothing more there: whatever
/// holds a thing of JavaScript's is the first thread's.
pub fn helper_panicked(why: &str) {
    error(why);
}

/// The place that a helper's script sets to 1 when the helper fails.
pub fn failed_place() -> u32 {
    FAILED.at()
}

/// A helper's life: it takes part in every job.
pub fn help() {
    let mut last = 0;
    let number = number() as usize;
    add(HELPERS.at(), 1);
    loop {
        let open = wait_for_job(last);
        add(INSIDE.at(), 1);
        // It may have ended in between; while it has not, the first thread waits for this one.
        if load(OPEN.at()) == open
            && let Some(job) = JOB.0.get()
        {
            last = open;
            if number < job.threads {
                work(&job);
            }
        }
        add(INSIDE.at(), -1);
    }
}

/// The number of a job that is not the `last`.
fn wait_for_job(last: i32) -> i32 {
    let mut idle = 0;
    loop {
        let open = load(OPEN.at());
        if open != 0 && open != last {
            return open;
        }
        idle += 1;
        if idle < PATIENCE {
            continue;
        }
        idle = 0;
        if load(AWAKE.at()) == 0 {
            add(ASLEEP.at(), 1);
            sleep(OPEN.at(), open);
            add(ASLEEP.at(), -1);
        }
    }
}

/// Runs pieces of a job until none is left.
fn work(job: &Job) {
    // SAFETY: `each` does not return before every helper has left the job.
    let run = unsafe { &*job.run };
    loop {
        let first = add(NEXT.at(), job.run_length as i32) as usize;
        if first >= job.pieces {
            return;
        }
        for piece in first..job.pieces.min(first + job.run_length) {
            run(piece);
        }
    }
}

/// Calls `f` with every number below `pieces`, each once, by all threads together.
pub fn each(pieces: usize, f: &(dyn Fn(usize) + Sync)) {
    let threads = at_work();
    if threads == 1 || pieces < 2 || JOB.0.get().is_some() {
        return (0..pieces).for_each(f);
    }
    // SAFETY: only the lifetime changes; nobody reads it after this function.
    let run: *const (dyn Fn(usize) + Sync) = unsafe {
        core::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(f)
    };
    let job = Job {
        run,
        pieces,
        run_length: pieces.div_ceil(threads * RUNS),
        threads,
    };
    JOB.0.set(Some(job));
    store(NEXT.at(), 0);
    let number = LAST_JOB.0.get().checked_add(1).unwrap_or(1);
    LAST_JOB.0.set(number);
    store(OPEN.at(), number);
    if load(ASLEEP.at()) != 0 {
        wake(OPEN.at());
    }
    work(&job);
    store(OPEN.at(), 0);
    while load(INSIDE.at()) != 0 {
        assert!(
            load(FAILED.at()) == 0,
            "one of the engine's helper threads stopped; the browser's console says why"
        );
    }
    JOB.0.set(None);
}

/// Runs `f` on at most so many threads. Helpers look for work all the while: waking one takes
/// longer than many a job.
pub fn on<R>(threads: usize, f: impl FnOnce() -> R) -> R {
    LIMIT.0.set(threads);
    let helped = at_work() > 1;
    if helped {
        store(AWAKE.at(), 1);
    }
    let result = f();
    if helped {
        store(AWAKE.at(), 0);
    }
    LIMIT.0.set(MOST);
    result
}

/// The pieces of a slice, each `len` long but the last.
struct Pieces<T> {
    start: *mut T,
    all: usize,
    len: usize,
}

// SAFETY: a slice that is borrowed mutably, of which every piece goes to one thread.
unsafe impl<T: Send> Sync for Pieces<T> {}

impl<T> Pieces<T> {
    fn new(slice: &mut [T], len: usize) -> Self {
        assert!(len > 0, "pieces of nothing");
        Pieces {
            start: slice.as_mut_ptr(),
            all: slice.len(),
            len,
        }
    }

    fn count(&self) -> usize {
        self.all.div_ceil(self.len)
    }

    /// # Safety
    /// Each piece is asked for once.
    #[allow(clippy::mut_from_ref, reason = "that is what it is for")]
    unsafe fn get(&self, i: usize) -> &mut [T] {
        let first = i * self.len;
        assert!(first < self.all);
        // SAFETY: inside the slice, and nobody else's as each is asked for once.
        unsafe {
            core::slice::from_raw_parts_mut(self.start.add(first), self.len.min(self.all - first))
        }
    }
}

/// Calls `f(index, piece)` for each `len`-long piece of `data`.
pub fn pieces<T: Send>(data: &mut [T], len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let data = Pieces::new(data, len);
    each(data.count(), &|i| {
        // SAFETY: `each` gives every number once.
        f(i, unsafe { data.get(i) });
    });
}

/// As [`pieces`], over two slices cut in step; the shorter decides.
pub fn pieces2<A: Send, B: Send>(
    a: &mut [A],
    a_len: usize,
    b: &mut [B],
    b_len: usize,
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    let (a, b) = (Pieces::new(a, a_len), Pieces::new(b, b_len));
    each(a.count().min(b.count()), &|i| {
        // SAFETY: `each` gives every number once.
        let (a, b) = unsafe { (a.get(i), b.get(i)) };
        f(i, a, b);
    });
}

/// The standard library's allocator, one thread at a time.
#[derive(Debug)]
pub struct Allocator;

/// Lets the next thread into the allocator.
struct Turn(bool);

impl Turn {
    fn wait() -> Self {
        let shared = STARTED.0.get();
        // Nobody stays inside for long.
        while shared && take(ALLOCATING.at()) != 0 {}
        Turn(shared)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.0 {
            store(ALLOCATING.at(), 0);
        }
    }
}

// SAFETY: the standard library's allocator does it, and one thread at a time is in there.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _turn = Turn::wait();
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let _turn = Turn::wait();
        // SAFETY: as the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let _turn = Turn::wait();
        // SAFETY: as the caller's.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _turn = Turn::wait();
        // SAFETY: as the caller's.
        unsafe { System.realloc(memory, layout, size) }
    }
}
