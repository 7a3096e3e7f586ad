//! What a model answers, on its way from the model's thread to whoever writes the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use ternary::session::service::{Client, Request, Update};
use ternary::words::counted;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::models::{Chosen, Model};
use super::refusal::Refusal;
use super::track::Track;
use super::worker::Job;

/// One request, on the model's side. A reply has no more updates than tokens, so what waits for a
/// slow reader is bounded.
struct Caller {
    index: usize,
    to: UnboundedSender<(usize, Update)>,
    asked: Instant,
    answered: bool,
    /// Its text, if that goes into the log.
    said: Option<String>,
    model: Arc<Model>,
    track: Arc<Track>,
}

impl Client for Caller {
    fn update(&mut self, update: Update) {
        if !self.answered && matches!(update, Update::Token { .. } | Update::Embedding(_)) {
            self.answered = true;
            self.track.metrics().first_token(self.asked.elapsed());
        }
        if let (Some(said), Update::Token { text, .. } | Update::Finished { text, .. }) =
            (&mut self.said, &update)
        {
            *said += text;
        }
        if let Update::Finished { usage, .. } = &update {
            if let Some(said) = &self.said {
                log::info!("reply of {}: {said:?}", self.model.name());
            }
            self.track.tokens(
                usage.prompt_tokens,
                usage.cached_tokens,
                usage.generated_tokens,
            );
        }
        // Whether anybody listens is asked for by `is_gone`.
        let _ = self.to.send((self.index, update));
    }

    fn is_gone(&self) -> bool {
        self.to.is_closed()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.model.release();
    }
}

/// The answers to one or several requests. Dropping it ends those that are still being answered.
pub struct Replies {
    from: UnboundedReceiver<(usize, Update)>,
    open: usize,
    until: tokio::time::Instant,
    limit: Duration,
}

impl Replies {
    /// Have `requests` answered, within `limit`; `log_texts`: what is said goes into the log.
    pub fn ask(
        chosen: &Chosen,
        requests: Vec<Request>,
        limit: Duration,
        log_texts: bool,
        track: &Arc<Track>,
    ) -> Result<Self, Refusal> {
        let model = &chosen.model;
        let open = requests.len();
        if open > model.capacity() {
            let most = model.capacity();
            return Err(Refusal::invalid(
                "n",
                format!("{open} replies were asked for; at most {most} run and wait here"),
            ));
        }
        model.admit(open, track.metrics())?;
        let (to, from) = unbounded_channel();
        // Made before one is sent: each releases its place when it is dropped.
        let jobs: Vec<Job> = requests
            .into_iter()
            .enumerate()
            .map(|(index, mut request)| {
                request.adapter.clone_from(&chosen.adapter);
                let client = Caller {
                    index,
                    to: to.clone(),
                    asked: Instant::now(),
                    answered: false,
                    said: log_texts.then(String::new),
                    model: model.clone(),
                    track: track.clone(),
                };
                Job {
                    request,
                    client: Box::new(client),
                }
            })
            .collect();
        for job in jobs {
            if !model.send(job) {
                model.ready()?;
                return Err(ended());
            }
        }
        Ok(Replies {
            from,
            open,
            until: tokio::time::Instant::now() + limit,
            limit,
        })
    }

    /// The next update, and which request it answers; None at the end of all.
    pub async fn next(&mut self) -> Result<Option<(usize, Update)>, Refusal> {
        if self.open == 0 {
            return Ok(None);
        }
        let update = tokio::time::timeout_at(self.until, self.from.recv()).await;
        let update = update.map_err(|_| {
            Refusal::new(
                StatusCode::GATEWAY_TIMEOUT,
                format!(
                    "the request took longer than {} (--timeout)",
                    counted(self.limit.as_secs(), "second")
                ),
            )
            .with_code("timeout")
        })?;
        match update {
            None => Err(ended()),
            Some((_, Update::Failed(e))) => Err(e.into()),
            Some((index, update)) => {
                self.open -= usize::from(matches!(update, Update::Finished { .. }));
                Ok(Some((index, update)))
            }
        }
    }
}

fn ended() -> Refusal {
    Refusal::failed("the model has stopped; the server's log says why")
}
