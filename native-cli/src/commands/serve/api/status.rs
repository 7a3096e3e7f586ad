//! What is served and how it does: `/v1/models`, `/health`, `/metrics`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::commands::serve::app::App;
use crate::commands::serve::body;
use crate::commands::serve::models::Chosen;
use crate::commands::serve::refusal::Refusal;
use crate::output;

/// A model as lists show it.
fn card(chosen: &Chosen) -> Value {
    let model = &chosen.model;
    let mut card = json!({"id": chosen.id(), "object": "model", "created": model.created(),
        "owned_by": "local"});
    if chosen.adapter.is_some() {
        card["parent"] = model.name().into();
    }
    if let Ok(ready) = model.ready() {
        card["max_model_len"] = ready.context.into();
        card["meta"] = json!({"description": ready.card.description,
            "parameters": ready.card.parameters, "file_bytes": ready.card.file_bytes,
            "hidden_size": ready.card.hidden_size, "vocab_size": ready.tokenizer.vocab_size(),
            "device": ready.card.device, "chat": ready.template.is_some(),
            "tools": ready.knows.takes, "sampling": output::json(&ready.sampling).unwrap_or_default()});
    }
    card
}

pub async fn models(State(app): State<Arc<App>>) -> Response {
    let data: Vec<Value> = app.models.ids().iter().map(card).collect();
    let first = data.first().map(|model| model["id"].clone());
    let last = data.last().map(|model| model["id"].clone());
    // The last three are Anthropic's.
    body::json(
        &json!({"object": "list", "data": data, "has_more": false, "first_id": first,
        "last_id": last}),
    )
}

pub async fn model(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    Ok(body::json(&card(&app.models.find(Some(&id))?)))
}

pub async fn health(State(app): State<Arc<App>>) -> Response {
    let models = app.models.all();
    let failed = models
        .iter()
        .find_map(|model| Some((model.name().to_owned(), model.failure()?)));
    let (status, said) = match failed {
        Some((name, why)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({"status": "failed", "model": name, "message": why}),
        ),
        None if models.is_empty() || models.iter().any(|model| model.is_loading()) => (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({"status": "loading"}),
        ),
        None => (StatusCode::OK, json!({"status": "ok"})),
    };
    let mut response = body::json(&said);
    *response.status_mut() = status;
    response
}

pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    let loads: Vec<_> = app.models.all().iter().map(|model| model.load()).collect();
    body::typed(
        "text/plain; version=0.0.4; charset=utf-8",
        app.metrics.text(&loads),
    )
}
