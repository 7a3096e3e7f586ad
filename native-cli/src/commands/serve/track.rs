//! What is known of a request from its first byte to its answer's last: for the log, the figures
//! and the end of the server.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};

use super::metrics::Metrics;

/// A request being answered.
pub struct Track {
    method: String,
    path: String,
    /// One of the endpoints, or "other".
    endpoint: &'static str,
    begun: Instant,
    told: Mutex<Told>,
    metrics: Arc<Metrics>,
    active: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Told {
    model: String,
    prompt_tokens: usize,
    generated_tokens: usize,
}

impl Track {
    pub fn new(
        method: String,
        path: String,
        endpoint: &'static str,
        metrics: &Arc<Metrics>,
        active: &Arc<AtomicUsize>,
    ) -> Self {
        active.fetch_add(1, Ordering::SeqCst);
        Track {
            method,
            path,
            endpoint,
            begun: Instant::now(),
            told: Mutex::default(),
            metrics: metrics.clone(),
            active: active.clone(),
        }
    }

    pub fn model(&self, name: &str) {
        name.clone_into(&mut self.told().model);
    }

    pub fn tokens(&self, prompt: usize, cached: usize, generated: usize) {
        let mut told = self.told();
        told.prompt_tokens += prompt;
        told.generated_tokens += generated;
        drop(told);
        self.metrics.tokens(prompt, cached, generated);
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, status: u16, whole: bool) {
        let time = self.begun.elapsed();
        self.metrics.request(self.endpoint, status, time, !whole);
        let told = self.told();
        log::info!(
            "method={} path={} model={} status={status} tokens_in={} tokens_out={} ms={}{}",
            self.method,
            self.path,
            if told.model.is_empty() {
                "-"
            } else {
                &told.model
            },
            told.prompt_tokens,
            told.generated_tokens,
            time.as_millis(),
            if whole { "" } else { " aborted=true" }
        );
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        self.active.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An answer's body, which tells when it was sent, or given up.
pub struct Tracked {
    inner: Body,
    track: Arc<Track>,
    status: u16,
    whole: bool,
}

impl Tracked {
    /// Of a body that is not to be sent (`no_body`) nothing is missing.
    pub fn new(inner: Body, track: Arc<Track>, status: u16, no_body: bool) -> Self {
        let whole = no_body || inner.is_end_stream();
        Tracked {
            inner,
            track,
            status,
            whole,
        }
    }
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.whole |= frame.is_none() || self.inner.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.track.end(self.status, self.whole);
    }
}
