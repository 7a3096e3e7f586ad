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
    /// The schema of its answer; None: it is text.
    pub answer: Option<&'static str>,
    /// The schema of an event, where it can answer by server-sent events.
    pub event: Option<&'static str>,
    route: fn() -> MethodRouter<Arc<App>>,
}

const fn asked(
    path: &'static str,
    summary: &'static str,
    answer: Option<&'static str>,
    route: fn() -> MethodRouter<Arc<App>>,
) -> Endpoint {
    Endpoint {
        path,
        summary,
        parameters: None,
        required: &[],
        answer,
        event: None,
        route,
    }
}

const fn told(
    path: &'static str,
    summary: &'static str,
    parameters: Tables,
    required: &'static [&'static str],
    answer: &'static str,
    route: fn() -> MethodRouter<Arc<App>>,
) -> Endpoint {
    Endpoint {
        parameters: Some(parameters),
        required,
        ..asked(path, summary, Some(answer), route)
    }
}

const fn streamed(event: &'static str, endpoint: Endpoint) -> Endpoint {
    Endpoint {
        event: Some(event),
        ..endpoint
    }
}

/// All of them.
pub const ENDPOINTS: &[Endpoint] = &[
    asked(
        "/v1/models",
        "The models and adapters that are served.",
        Some("ModelList"),
        || get(status::models),
    ),
    asked("/v1/models/{id}", "One of them.", Some("ModelCard"), || {
        get(status::model)
    }),
    streamed(
        "ChatCompletionChunk",
        told(
            "/v1/chat/completions",
            "Reply to a conversation (OpenAI).",
            chat::PARAMETERS,
            &["messages"],
            "ChatCompletion",
            || post(chat::answer),
        ),
    ),
    streamed(
        "Completion",
        told(
            "/v1/completions",
            "Go on with a text (OpenAI).",
            completions::PARAMETERS,
            &["prompt"],
            "Completion",
            || post(completions::answer),
        ),
    ),
    streamed(
        "ResponseEvent",
        told(
            "/v1/responses",
            "Reply to a conversation (OpenAI's Responses API).",
            responses::PARAMETERS,
            &["input"],
            "Response",
            || post(responses::answer),
        ),
    ),
    told(
        "/v1/embeddings",
        "The mean of a text's last hidden states (OpenAI).",
        embeddings::PARAMETERS,
        &["input"],
        "Embeddings",
        || post(embeddings::answer),
    ),
    streamed(
        "AnthropicEvent",
        told(
            "/v1/messages",
            "Reply to a conversation (Anthropic).",
            messages::PARAMETERS,
            &["messages", "max_tokens"],
            "AnthropicMessage",
            || post(messages::answer),
        ),
    ),
    told(
        "/v1/messages/count_tokens",
        "Tokens of a conversation (Anthropic).",
        messages::COUNT_PARAMETERS,
        &["messages"],
        "TokenCount",
        || post(messages::count),
    ),
    told(
        "/tokenize",
        "The tokens of a text.",
        tokens::TOKENIZE,
        &["content"],
        "Tokens",
        || post(tokens::tokenize),
    ),
    told(
        "/detokenize",
        "The text of tokens.",
        tokens::DETOKENIZE,
        &["tokens"],
        "Text",
        || post(tokens::detokenize),
    ),
    told(
        "/apply-template",
        "The prompt that a conversation becomes.",
        tokens::TEMPLATE,
        &["messages"],
        "Prompt",
        || post(tokens::apply_template),
    ),
    asked(
        "/health",
        "Whether every model answers: 200, or 503.",
        Some("Health"),
        || get(status::health),
    ),
    asked("/metrics", "Figures for Prometheus.", None, || {
        get(status::metrics)
    }),
    asked(
        "/openapi.json",
        "This description.",
        Some("Description"),
        || get(description),
    ),
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

/// The endpoint that was meant by `path`: base addresses lack their `/v1`, or have it twice, or end
/// with a slash.
pub fn meant(path: &str) -> Option<&'static str> {
    fn words(path: &str) -> impl Iterator<Item = &str> {
        path.split('/')
            .filter(|word| !word.is_empty() && *word != "v1")
    }
    let mut paths = ENDPOINTS.iter().map(|endpoint| endpoint.path);
    paths.find(|known| words(path).next().is_some() && words(known).eq(words(path)))
}

async fn description() -> Response {
    body::json(&document())
}

/// Where a parameter's schema says that it is not honored: `ignored`, `only` or `refused`.
const RULE: &str = "x-rule";
/// What answers and parts of requests are.
const SCHEMAS: &str = include_str!("schemas.json");

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn property(parameter: &Parameter) -> Value {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let mut schema = match parsed(parameter.schema) {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    schema.insert("description".to_owned(), parameter.about.into());
    let mut set = |name: &str, value: Value| schema.insert(name.to_owned(), value);
    match parameter.rule {
        Rule::Used => {
            set("examples", json!([parsed(parameter.sample)]));
        }
        Rule::Ignored => {
            set("examples", json!([parsed(parameter.sample)]));
            set(RULE, "ignored".into());
        }
        Rule::Only(values) => {
            set("enum", parsed(values));
            set(RULE, "only".into());
        }
        Rule::Refused(_) => {
            set("not", json!({}));
            set(RULE, "refused".into());
        }
    }
    schema.into()
}

/// The description of everything, by OpenAPI 3.1.
pub fn document() -> Value {
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let mut content = Map::new();
        match endpoint.answer {
            Some(answer) => content.insert(
                "application/json".to_owned(),
                json!({"schema": reference(answer)}),
            ),
            None => content.insert(
                "text/plain".to_owned(),
                json!({"schema": {"type": "string"}}),
            ),
        };
        if let Some(event) = endpoint.event {
            content.insert(
                "text/event-stream".to_owned(),
                json!({"schema": reference(event)}),
            );
        }
        let error = match endpoint.path.starts_with("/v1/messages") {
            true => "AnthropicError",
            false => "Error",
        };
        let error = json!({"description": "Refused, or failed: the message names what is wrong.",
            "content": {"application/json": {"schema": reference(error)}}});
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
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    json!({
        "openapi": "3.1.0",
        "info": {"title": "onebit serve", "version": env!("CARGO_PKG_VERSION"),
            "description": "1-bit and ternary language models for clients of OpenAI's and Anthropic's APIs."},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"}}},
        "security": [{}, {"bearer": []}, {"key": []}],
    })
}
