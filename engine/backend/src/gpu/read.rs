//! Reading back: a copy that is queued behind the runs it is of, mapped once it has been made.

use std::sync::{Arc, Mutex, PoisonError};

use futures_channel::oneshot;

use super::device::{Gpu, Waiting};
use super::kernel::Slice;
use crate::BackendError;

/// Buffers that reads are copied to, between their uses.
#[derive(Clone, Debug, Default)]
pub(super) struct Staging(Arc<Mutex<Vec<wgpu::Buffer>>>);

impl Staging {
    /// The smallest that is large enough. A new one takes the place of those that are too small.
    fn take(&self, gpu: &Gpu, bytes: u64) -> Result<wgpu::Buffer, BackendError> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = (0..free.len()).filter(|i| free[*i].size() >= bytes);
        if let Some(i) = fits.min_by_key(|i| free[*i].size()) {
            return Ok(free.swap_remove(i));
        }
        free.clear();
        gpu.buffer(
            "read-back",
            bytes as usize,
            wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        )
    }

    fn give_back(&self, buffer: wgpu::Buffer) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(buffer);
    }

    pub fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// A queued read.
pub(super) struct Read {
    staging: Staging,
    buffer: wgpu::Buffer,
    /// What every source takes in `buffer`, and bytes wanted of it.
    sizes: Vec<(u64, usize)>,
    submission: wgpu::SubmissionIndex,
    mapped: oneshot::Receiver<Result<(), wgpu::BufferAsyncError>>,
    waiting: Waiting,
}

impl Read {
    /// Of the first bytes of each source, after everything queued so far.
    pub fn queue(
        gpu: &Gpu,
        staging: &Staging,
        sources: &[(Slice, usize)],
    ) -> Result<Read, BackendError> {
        gpu.check()?;
        // Copies are of whole words.
        let words = |(_, bytes): &(Slice, usize)| bytes.next_multiple_of(4) as u64;
        let total: u64 = sources.iter().map(words).sum();
        let buffer = staging.take(gpu, total)?;
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut at = 0;
        for source in sources {
            let Slice {
                buffer: from,
                offset,
                ..
            } = &source.0;
            encoder.copy_buffer_to_buffer(from, *offset, &buffer, at, words(source));
            at += words(source);
        }
        let submission = gpu.queue.submit([encoder.finish()]);
        let (sender, mapped) = oneshot::channel();
        buffer.map_async(wgpu::MapMode::Read, ..total.max(4), move |result| {
            // The receiver is gone only if nobody wants to know any more.
            let _ = sender.send(result);
        });
        Ok(Read {
            staging: staging.clone(),
            buffer,
            sizes: sources.iter().map(|s| (words(s), s.1)).collect(),
            submission,
            mapped,
            waiting: gpu.waiting(),
        })
    }

    /// Bytes that are copied.
    pub fn bytes(&self) -> u64 {
        self.sizes.iter().map(|(size, _)| size).sum()
    }

    /// What was read; what was queued behind it may still run.
    pub async fn contents(self) -> Result<Vec<Vec<u8>>, BackendError> {
        let total = self.bytes();
        let waited = self.waiting.poll(wgpu::PollType::Wait {
            submission_index: Some(self.submission),
            timeout: None,
        });
        if waited.is_err() {
            // A lost device says so to those who wait for all of it.
            self.waiting.poll(wgpu::PollType::wait_indefinitely())?;
        }
        waited?;
        let lost = |e: &dyn std::fmt::Display| BackendError::DeviceLost(e.to_string());
        let mapped = self.mapped.await.map_err(|e| lost(&e))?;
        self.waiting.check()?;
        mapped.map_err(|e| lost(&e))?;
        let mut contents = Vec::with_capacity(self.sizes.len());
        {
            let view = self
                .buffer
                .get_mapped_range(..total.max(4))
                .map_err(|e| lost(&e))?;
            let mut at = 0;
            for (size, bytes) in &self.sizes {
                contents.push(view[at..at + bytes].to_vec());
                at += *size as usize;
            }
        }
        self.buffer.unmap();
        self.staging.give_back(self.buffer);
        Ok(contents)
    }
}
