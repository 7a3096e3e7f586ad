//! The endpoints: one list, from which the routes, the labels of the figures and the OpenAPI
//! description are made.

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use serde_json::{Map, Value, json};

use super::api::{chat, completions, embeddings, messages, responses, status, tokens};
use super::app::App;
use super::body;
use super::fields::{Parameter, Rule, Tables};

/// An endpoint.
pub struct Endpoint {
    pub path: &'static str,
    pub summary: &'static str,
    /// What it takes; None: it is a GET.
    pub parameters: Option<Tables>,
    /// Those that must be given.
    pub required: &'static [&'static str],
    /// Whether it can answer by server-sent events.
    pub streams: bool,
    route: fn() -> MethodRouter<Arc<App>>,
}

const fn asked(
    path: &'static str,
    summary: &'static str,
    route: fn() -> MethodRouter<Arc<App>>,
) -> Endpoint {
    Endpoint {
        path,
        summary,
        parameters: None,
        required: &[],
        streams: false,
        route,
    }
}

const fn told(
    path: &'static str,
    summary: &'static str,
    parameters: Tables,
    required: &'static [&'static str],
    route: fn() -> MethodRouter<Arc<App>>,
) -> Endpoint {
    Endpoint {
        path,
        summary,
        parameters: Some(parameters),
        required,
        streams: false,
        route,
    }
}

const fn streamed(endpoint: Endpoint) -> Endpoint {
    Endpoint {
        streams: true,
        ..endpoint
    }
}

/// All of them.
pub const ENDPOINTS: &[Endpoint] = &[
    asked(
        "/v1/models",
        "The models and adapters that are served.",
        || get(status::models),
    ),
    asked("/v1/models/{id}", "One of them.", || get(status::model)),
    streamed(told(
        "/v1/chat/completions",
        "Reply to a conversation (OpenAI).",
        chat::PARAMETERS,
        &["messages"],
        || post(chat::answer),
    )),
    streamed(told(
        "/v1/completions",
        "Go on with a text (OpenAI).",
        completions::PARAMETERS,
        &["prompt"],
        || post(completions::answer),
    )),
    streamed(told(
        "/v1/responses",
        "Reply to a conversation (OpenAI's Responses API).",
        responses::PARAMETERS,
        &["input"],
        || post(responses::answer),
    )),
    told(
        "/v1/embeddings",
        "The mean of a text's last hidden states (OpenAI).",
        embeddings::PARAMETERS,
        &["input"],
        || post(embeddings::answer),
    ),
    streamed(told(
        "/v1/messages",
        "Reply to a conversation (Anthropic).",
        messages::PARAMETERS,
        &["messages", "max_tokens"],
        || post(messages::answer),
    )),
    told(
        "/v1/messages/count_tokens",
        "Tokens of a conversation (Anthropic).",
        messages::COUNT_PARAMETERS,
        &["messages"],
        || post(messages::count),
    ),
    told(
        "/tokenize",
        "The tokens of a text.",
        tokens::TOKENIZE,
        &["content"],
        || post(tokens::tokenize),
    ),
    told(
        "/detokenize",
        "The text of tokens.",
        tokens::DETOKENIZE,
        &["tokens"],
        || post(tokens::detokenize),
    ),
    told(
        "/apply-template",
        "The prompt that a conversation becomes.",
        tokens::TEMPLATE,
        &["messages"],
        || post(tokens::apply_template),
    ),
    asked(
        "/health",
        "Whether every model answers: 200, or 503.",
        || get(status::health),
    ),
    asked("/metrics", "Figures for Prometheus.", || {
        get(status::metrics)
    }),
    asked("/openapi.json", "This description.", || get(description)),
];

/// The routes of all endpoints.
pub fn routes() -> Router<Arc<App>> {
    let router = Router::new();
    ENDPOINTS.iter().fold(router, |router, endpoint| {
        router.route(endpoint.path, (endpoint.route)())
    })
}

/// What figures call the endpoint at `path`.
pub fn label(path: &str) -> &'static str {
    let fits = |endpoint: &&Endpoint| match endpoint.path.strip_suffix("{id}") {
        Some(before) => path.strip_prefix(before).is_some_and(|id| !id.is_empty()),
        None => path == endpoint.path,
    };
    ENDPOINTS
        .iter()
        .find(fits)
        .map_or("other", |endpoint| endpoint.path)
}

async fn description() -> Response {
    body::json(&document())
}

fn property(parameter: &Parameter) -> Value {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let mut schema = match parsed(parameter.schema) {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    schema.insert("description".to_owned(), parameter.about.into());
    match parameter.rule {
        Rule::Only(values) => {
            schema.insert("enum".to_owned(), parsed(values));
        }
        Rule::Refused(_) => {
            schema.insert("not".to_owned(), json!({}));
        }
        Rule::Used | Rule::Ignored => {
            schema.insert("examples".to_owned(), json!([parsed(parameter.sample)]));
        }
    }
    schema.into()
}

/// The description of everything, by OpenAPI 3.1.
pub fn document() -> Value {
    let error = json!({"description": "Refused, or failed: the message names what is wrong.",
        "content": {"application/json": {"schema": {"type": "object"}}}});
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let mut content = Map::new();
        let kind = match endpoint.path {
            "/metrics" => "text/plain",
            _ => "application/json",
        };
        content.insert(kind.to_owned(), json!({}));
        if endpoint.streams {
            content.insert("text/event-stream".to_owned(), json!({}));
        }
        let mut operation = json!({"summary": endpoint.summary,
            "responses": {"200": {"description": "Answered.", "content": content}, "default": error}});
        if endpoint.path.ends_with("{id}") {
            operation["parameters"] = json!([{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}]);
        }
        let method = match endpoint.parameters {
            None => "get",
            Some(tables) => {
                let all = tables.iter().copied().flatten();
                let properties: Map<String, Value> = all
                    .map(|parameter| (parameter.name.to_owned(), property(parameter)))
                    .collect();
                operation["requestBody"] = json!({"required": true, "content": {"application/json":
                    {"schema": {"type": "object", "properties": properties,
                        "required": endpoint.required, "additionalProperties": false}}}});
                "post"
            }
        };
        paths.insert(endpoint.path.to_owned(), json!({method: operation}));
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "onebit serve", "version": env!("CARGO_PKG_VERSION"),
            "description": "1-bit and ternary language models for clients of OpenAI's and Anthropic's APIs."},
        "paths": paths,
        "components": {"securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"}}},
        "security": [{}, {"bearer": []}, {"key": []}],
    })
}
