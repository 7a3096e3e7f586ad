//! Ranks: processes that work together, on one machine or on several.
//!
//! A sum is made of numbered contributions; number `i` is that of rank `i mod N`. Each is added to
//! the sum of those before it, element by element, as one process adds them: the sum goes from rank
//! to rank in the order of the numbers, in chunks, each rank adding its own, and the last one's
//! goes round to all. Floating-point addition depends on the order, so this chain, and no tree,
//! gives the bits that one process gets. A thread of its own moves the chunks while the next parts
//! are computed.

mod link;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

pub use link::{Inbox, Link, LinkError, LocalLink, Purpose};

/// Elements of a message of a sum: long enough that its latency does not matter, short enough that
/// all links of the chain are busy at once.
const CHUNK: usize = 1 << 16;

/// Parts of a gradient that wait for the link, at most: they are in memory.
const WAITING: usize = 8;

/// How often a link that has nothing to do is looked after.
const IDLE: Duration = Duration::from_micros(500);

enum Job {
    /// A part of what contribution `index` of `of` adds to a sum.
    Add {
        index: usize,
        of: usize,
        values: Vec<f32>,
    },
    /// The sums of such parts, of these lengths, are wanted.
    Totals { of: usize, lens: Vec<usize> },
    /// What rank 0 tells all.
    Tell(Vec<u8>),
    /// What each rank tells rank 0.
    Gather(Vec<u8>),
}

enum Answer {
    Total(Vec<f32>),
    Told(Vec<u8>),
    Gathered(Vec<Vec<u8>>),
}

/// This process among those that train together.
#[derive(Debug)]
pub struct Ranks {
    rank: usize,
    size: usize,
    jobs: Option<SyncSender<Job>>,
    answers: Receiver<Result<Answer, LinkError>>,
    thread: Option<JoinHandle<()>>,
    /// Nobody waits for the thread's answers any more.
    closed: Arc<AtomicBool>,
}

impl Ranks {
    /// Starts the thread of the link that `open` opens on it.
    ///
    /// # Errors
    /// What `open` says.
    pub fn start<L: Link>(
        open: impl FnOnce() -> Result<L, LinkError> + Send + 'static,
    ) -> Result<Self, LinkError> {
        let (jobs, queue) = sync_channel(WAITING);
        let (answer, answers) = channel();
        let (opened, place) = channel();
        let closed = Arc::new(AtomicBool::new(false));
        let closing = closed.clone();
        let thread = std::thread::spawn(move || {
            let link = match open() {
                Ok(link) => link,
                Err(e) => {
                    let _ = opened.send(Err(e));
                    return;
                }
            };
            let _ = opened.send(Ok((link.rank(), link.size())));
            drop(opened);
            Worker {
                link,
                buffer: vec![0.0; CHUNK],
                closing,
            }
            .serve(&queue, &answer);
        });
        let ended = |_| LinkError::System("the link's thread ended".to_owned());
        let (rank, size) = place.recv().map_err(ended)??;
        Ok(Ranks {
            rank,
            size,
            jobs: Some(jobs),
            answers,
            thread: Some(thread),
            closed,
        })
    }

    /// Of this process, counted from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Ranks in all.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether this rank writes files and speaks for all.
    pub fn leads(&self) -> bool {
        self.rank == 0
    }

    fn queue(&mut self, job: Job) -> Result<(), LinkError> {
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// Why the link's thread ended.
    fn failure(&self) -> LinkError {
        let last = self.answers.iter().find_map(Result::err);
        last.unwrap_or_else(|| LinkError::System("the link's thread ended".to_owned()))
    }

    fn answer(&mut self) -> Result<Answer, LinkError> {
        match self.answers.recv() {
            Ok(answer) => answer,
            Err(_) => Err(self.failure()),
        }
    }

    /// Adds a part of contribution `index` of `of`, which must be this rank's.
    /// Returns before it is done.
    pub fn add(&mut self, index: usize, of: usize, values: Vec<f32>) -> Result<(), LinkError> {
        self.queue(Job::Add { index, of, values })
    }

    /// Asks for the sums of the parts that were added, of these lengths; [`Self::total`] gives
    /// them one by one.
    pub fn ask_totals(&mut self, of: usize, lens: Vec<usize>) -> Result<(), LinkError> {
        self.queue(Job::Totals { of, lens })
    }

    /// The next sum, the same on all ranks.
    pub fn total(&mut self) -> Result<Vec<f32>, LinkError> {
        match self.answer()? {
            Answer::Total(values) => Ok(values),
            _ => Err(mixed_up()),
        }
    }

    /// Sums of one vector of each rank, in the order of the ranks.
    pub fn sum(&mut self, values: Vec<f32>) -> Result<Vec<f32>, LinkError> {
        let (rank, size, lens) = (self.rank, self.size, vec![values.len()]);
        self.add(rank, size, values)?;
        self.ask_totals(size, lens)?;
        self.total()
    }

    /// What rank 0 says; the others' bytes are ignored.
    pub fn tell(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, LinkError> {
        self.queue(Job::Tell(bytes))?;
        match self.answer()? {
            Answer::Told(bytes) => Ok(bytes),
            _ => Err(mixed_up()),
        }
    }

    /// What each rank says, in the order of the ranks; of use on rank 0 only, and empty elsewhere.
    pub fn gather(&mut self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, LinkError> {
        self.queue(Job::Gather(bytes))?;
        match self.answer()? {
            Answer::Gathered(all) => Ok(all),
            _ => Err(mixed_up()),
        }
    }
}

/// Sums were asked for and not taken before something else was.
fn mixed_up() -> LinkError {
    LinkError::System("answers of the link's thread are out of order".to_owned())
}

impl Drop for Ranks {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // Its failure has been told, or nobody waits for it.
            let _ = thread.join();
        }
    }
}

/// The thread of a link.
struct Worker<L> {
    link: L,
    buffer: Vec<f32>,
    closing: Arc<AtomicBool>,
}

/// Waits for what comes soon, and then for what does not without keeping a core busy.
#[derive(Debug, Default)]
pub struct Patience(u32);

impl Patience {
    /// Wait a little before looking again.
    pub fn wait(&mut self) {
        self.0 += 1;
        if self.0 < 64 {
            std::thread::yield_now();
        } else {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

impl<L: Link> Worker<L> {
    fn serve(mut self, queue: &Receiver<Job>, answers: &Sender<Result<Answer, LinkError>>) {
        loop {
            let job = match queue.recv_timeout(IDLE) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => {
                    self.link.idle();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Err(e) = self.work(job, answers) {
                self.link.abandon();
                let _ = answers.send(Err(e));
                return;
            }
        }
    }

    fn work(
        &mut self,
        job: Job,
        answers: &Sender<Result<Answer, LinkError>>,
    ) -> Result<(), LinkError> {
        // Who asked may have ended; then nobody waits.
        let answer = |a| {
            let _ = answers.send(Ok(a));
        };
        match job {
            Job::Add {
                index,
                of,
                mut values,
            } => {
                self.add(index, of, &mut values)?;
                if index + 1 == of {
                    answer(Answer::Total(values));
                }
            }
            Job::Totals { of, lens } => {
                let holder = (of - 1) % self.link.size();
                if holder != self.link.rank() {
                    for len in lens {
                        let mut values = vec![0.0; len];
                        self.pass_on(holder, &mut values)?;
                        answer(Answer::Total(values));
                    }
                }
            }
            Job::Tell(bytes) => answer(Answer::Told(self.tell(bytes)?)),
            Job::Gather(bytes) => answer(Answer::Gathered(self.gather(bytes)?)),
        }
        Ok(())
    }

    /// Wait for a message.
    fn receive(
        &mut self,
        from: usize,
        purpose: Purpose,
        bytes: &mut [u8],
    ) -> Result<(), LinkError> {
        let mut patience = Patience::default();
        let message = loop {
            if let Some(message) = self.link.poll(from, purpose)? {
                break message;
            }
            if self.closing.load(Ordering::Relaxed) {
                return Err(LinkError::Abandoned);
            }
            patience.wait();
        };
        if message.len() != bytes.len() {
            return Err(LinkError::Length {
                from,
                found: message.len(),
                expected: bytes.len(),
            });
        }
        bytes.copy_from_slice(&message);
        Ok(())
    }

    /// Adds `values` to the sum of the micro-batches before, and sends it on: to the rank of the
    /// next, or round to all when it is complete.
    fn add(&mut self, index: usize, of: usize, values: &mut [f32]) -> Result<(), LinkError> {
        let size = self.link.size();
        let next = (self.link.rank() + 1) % size;
        let purpose = if index + 1 < of {
            Purpose::Sum
        } else {
            Purpose::Total
        };
        for chunk in values.chunks_mut(CHUNK) {
            if index > 0 {
                let mut buffer = std::mem::take(&mut self.buffer);
                let before = &mut buffer[..chunk.len()];
                let bytes = bytemuck::cast_slice_mut(before);
                self.receive((index - 1) % size, Purpose::Sum, bytes)?;
                for (sum, before) in chunk.iter_mut().zip(before) {
                    *sum += *before;
                }
                self.buffer = buffer;
            }
            if size > 1 {
                self.link.send(next, purpose, bytemuck::cast_slice(chunk))?;
            }
        }
        Ok(())
    }

    /// Receives a sum that `holder` completed, and sends it on.
    fn pass_on(&mut self, holder: usize, values: &mut [f32]) -> Result<(), LinkError> {
        let (rank, size) = (self.link.rank(), self.link.size());
        let (before, next) = ((rank + size - 1) % size, (rank + 1) % size);
        for chunk in values.chunks_mut(CHUNK) {
            let bytes = bytemuck::cast_slice_mut(&mut *chunk);
            self.receive(before, Purpose::Total, bytes)?;
            if next != holder {
                let bytes = bytemuck::cast_slice(chunk);
                self.link.send(next, Purpose::Total, bytes)?;
            }
        }
        Ok(())
    }

    /// Rank 0's bytes, to all along a binomial tree.
    fn tell(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, LinkError> {
        let (rank, size) = (self.link.rank(), self.link.size());
        let mut bytes = bytes;
        let mut bit = 1;
        while bit < size && rank & bit == 0 {
            bit <<= 1;
        }
        if rank > 0 {
            bytes = self.receive_word(rank - bit)?;
        }
        while bit > 1 {
            bit >>= 1;
            if rank + bit < size {
                self.send_word(rank + bit, &bytes)?;
            }
        }
        Ok(bytes)
    }

    fn gather(&mut self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, LinkError> {
        if self.link.rank() > 0 {
            self.send_word(0, &bytes)?;
            return Ok(Vec::new());
        }
        let mut all = vec![bytes];
        for rank in 1..self.link.size() {
            all.push(self.receive_word(rank)?);
        }
        Ok(all)
    }

    /// Bytes of any number, after their number.
    fn send_word(&mut self, to: usize, bytes: &[u8]) -> Result<(), LinkError> {
        let len = (bytes.len() as u64).to_le_bytes();
        self.link.send(to, Purpose::Word, &len)?;
        for part in bytes.chunks(4 * CHUNK) {
            self.link.send(to, Purpose::Word, part)?;
        }
        Ok(())
    }

    fn receive_word(&mut self, from: usize) -> Result<Vec<u8>, LinkError> {
        let mut len = [0; 8];
        self.receive(from, Purpose::Word, &mut len)?;
        let mut bytes = vec![0; u64::from_le_bytes(len) as usize];
        for part in bytes.chunks_mut(4 * CHUNK) {
            self.receive(from, Purpose::Word, part)?;
        }
        Ok(bytes)
    }
}
