//! What all requests share, and what an endpoint's handler is given.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde_json::Value;
use ternary::session::service;

use super::body;
use super::guard::Guard;
use super::metrics::Metrics;
use super::models::{Chosen, Models, Ready};
use super::page::Page;
use super::refusal::Refusal;
use super::replies::Replies;
use super::track::Track;

/// The server.
pub struct App {
    pub models: Models,
    pub metrics: Arc<Metrics>,
    /// Requests being answered.
    pub active: Arc<AtomicUsize>,
    pub guard: Guard,
    pub page: Page,
    /// Bytes of a body, at most.
    pub max_body: usize,
    /// Time of a request, at most.
    pub timeout: Duration,
    /// Texts go into the log.
    pub log_prompts: bool,
}

/// A request with a JSON body.
pub struct Call {
    pub app: Arc<App>,
    pub track: Arc<Track>,
    pub value: Value,
}

impl FromRequest<Arc<App>> for Call {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let track = parts.extensions.get::<Arc<Track>>().cloned();
        let track = track.ok_or_else(|| Refusal::failed("the request is not tracked"))?;
        let value = body::read_json(&parts.headers, body, app.max_body).await?;
        if app.log_prompts {
            log::info!("request {}: {value}", parts.uri.path());
        }
        let app = app.clone();
        Ok(Call { app, track, value })
    }
}

impl Call {
    /// The model that the request names.
    pub fn choose(&self, name: Option<&str>) -> Result<Chosen, Refusal> {
        let chosen = self.app.models.find(name)?;
        self.track.model(&chosen.id());
        Ok(chosen)
    }

    /// Have `requests` answered.
    pub fn ask(
        &self,
        chosen: &Chosen,
        requests: Vec<service::Request>,
    ) -> Result<Replies, Refusal> {
        let app = &self.app;
        Replies::ask(chosen, requests, app.timeout, app.log_prompts, &self.track)
    }
}

/// Work that takes a while, such as rendering a template or encoding a text, away from the threads
/// that serve connections.
pub async fn prepare<T: Send + 'static>(
    chosen: &Chosen,
    work: impl FnOnce(&Ready) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let model = chosen.model.clone();
    let done = tokio::task::spawn_blocking(move || work(model.ready()?)).await;
    done.map_err(|_| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request could not be made ready; the server's log says why",
        )
    })?
}
