//! Requests and answers are what the description says, field by field: nothing comes that is not
//! described, and everything that is described comes.

use std::collections::BTreeSet;

use super::*;

/// The description, and what of it was seen.
struct Described {
    document: Value,
    /// Its schemas, which here allow no other fields.
    schemas: Value,
    /// Fields, by the schema in which they stand.
    seen: BTreeSet<String>,
}

/// Allow no fields but those that are named.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.get("properties").is_some_and(Value::is_object) {
                fields.insert("additionalProperties".into(), false.into());
            }
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}

fn named(schema: &Value) -> Option<&str> {
    schema["$ref"]
        .as_str()?
        .strip_prefix("#/components/schemas/")
}

impl Described {
    fn new() -> Self {
        let document = openapi::document();
        let mut schemas = document["components"]["schemas"].clone();
        schemas
            .as_object_mut()
            .unwrap()
            .values_mut()
            .for_each(close);
        Described {
            document,
            schemas,
            seen: BTreeSet::new(),
        }
    }

    /// What is wrong with a value.
    fn problem(&self, schema: &Value, value: &Value) -> Option<String> {
        let whole = json!({"allOf": [schema], "components": {"schemas": self.schemas}});
        let validator = jsonschema::validator_for(&whole).unwrap();
        let problem = validator.iter_errors(value).next()?;
        Some(format!("{problem} at {}", problem.instance_path()))
    }

    /// The value is what the schema says.
    fn check(&mut self, schema: &Value, value: &Value) {
        if let Some(problem) = self.problem(schema, value) {
            panic!("{problem}\nin {value}\nof {schema}");
        }
        self.walk(schema, value, "");
    }

    /// Notes the fields that a value has.
    fn walk(&mut self, schema: &Value, value: &Value, place: &str) {
        if let Some(name) = named(schema) {
            let schema = self.schemas[name].clone();
            return self.walk(&schema, value, name);
        }
        for part in schema["oneOf"].as_array().into_iter().flatten() {
            if self.problem(part, value).is_none() {
                self.walk(part, value, place);
            }
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(value) = value.get(name) {
                let place = format!("{place}.{name}");
                self.walk(field, value, &place);
                self.seen.insert(place);
            }
        }
        for value in value.as_array().into_iter().flatten() {
            self.walk(&schema["items"], value, place);
        }
    }

    /// All fields of a schema.
    fn fields(schema: &Value, place: &str, all: &mut BTreeSet<String>) {
        for part in schema["oneOf"].as_array().into_iter().flatten() {
            Self::fields(part, place, all);
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}.{name}");
            Self::fields(field, &place, all);
            all.insert(place);
        }
        if schema["items"].is_object() {
            Self::fields(&schema["items"], place, all);
        }
    }

    fn request(&self, path: &str) -> Value {
        let post = &self.document["paths"][path]["post"];
        post["requestBody"]["content"]["application/json"]["schema"].clone()
    }

    fn answer(&self, path: &str, status: &str, kind: &str) -> Value {
        let methods = self.document["paths"][path].as_object().unwrap();
        let method = methods.values().next().unwrap();
        method["responses"][status]["content"][kind]["schema"].clone()
    }

    /// A request that is answered: it, and what comes, is as described.
    fn post(&mut self, server: &Server, path: &str, body: &Value) -> Value {
        self.check(&self.request(path), body);
        let answer = server.post(path, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let json = answer.json();
        self.check(&self.answer(path, "200", "application/json"), &json);
        json
    }

    /// As that, by events.
    fn stream(&mut self, server: &Server, path: &str, body: &Value) {
        let body = with(body.clone(), json!({"stream": true}));
        self.check(&self.request(path), &body);
        let answer = server.post(path, &body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let schema = self.answer(path, "200", "text/event-stream");
        let events = answer.events();
        for event in events.iter().filter(|event| *event != "[DONE]") {
            self.check(&schema, &serde_json::from_str(event).unwrap());
        }
    }

    fn get(&mut self, server: &Server, path: &str, described: &str) -> Value {
        let json = server.get(path).json();
        self.check(&self.answer(described, "200", "application/json"), &json);
        json
    }
}

const CHAT: &str = "/v1/chat/completions";

/// A conversation with every kind of message, and every field that one may have.
fn every_message() -> Value {
    let part = |kind: &str| json!({"type": kind, "text": "x"});
    let call =
        json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    json!([
        {"role": "system", "content": "x", "name": "a"},
        {"role": "developer", "content": [part("text")]},
        {"role": "user", "content": [part("text"), part("input_text")], "name": "a"},
        {"role": "assistant", "content": [part("output_text"), {"type": "refusal", "refusal": "no"}],
            "refusal": null, "reasoning_content": "hm", "name": "a"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "x", "name": "f"},
        {"role": "assistant", "refusal": "no"},
        {"role": "user", "content": "x"},
    ])
}

fn every_function() -> Value {
    json!([
        {"type": "function", "function": {"name": "f", "description": "d", "strict": true,
            "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "g", "strict": null}},
    ])
}

#[test]
fn requests_and_answers_are_as_described() {
    let mut described = Described::new();
    let plain = Server::start(Options::default());
    let calling = Server::start(Options {
        says: "See:\n<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</tool_call>",
        template: Some(TOOL_TEMPLATE),
        ..Options::default()
    });
    let failing = || {
        Server::start(Options {
            fails_at: Some(2),
            ..Options::default()
        })
    };
    let usage = json!({"stream_options": {"include_usage": true}});

    let scored = with(
        hello(),
        json!({"n": 2, "logprobs": true, "top_logprobs": 1}),
    );
    described.post(&plain, CHAT, &scored);
    described.stream(&plain, CHAT, &scored);
    let all = json!({"messages": every_message(), "tools": every_function()});
    for choice in [json!("auto"), json!("none"), json!("required")] {
        described.post(
            &calling,
            CHAT,
            &with(all.clone(), json!({"tool_choice": choice})),
        );
    }
    let one = json!({"tool_choice": {"type": "function", "function": {"name": "f"}}});
    described.post(&calling, CHAT, &with(all.clone(), one));
    let streamed = with(all, usage.clone());
    let body = with(streamed, json!({"stream": true}));
    described.stream(&calling, CHAT, &body);
    let schema =
        json!({"name": "n", "description": "d", "strict": true, "schema": {"type": "object"}});
    for format in [
        json!({"type": "text"}),
        json!({"type": "json_object"}),
        json!({"type": "json_schema", "json_schema": schema}),
        json!({"type": "json_schema", "json_schema": {"schema": {}, "strict": null}}),
        json!({"type": "regex", "regex": "Hello"}),
        json!({"type": "grammar", "grammar": "start: \"Hello\""}),
    ] {
        described.post(
            &plain,
            CHAT,
            &with(hello(), json!({"response_format": format})),
        );
    }

    let text = json!({"prompt": ["ab", "c"], "echo": true, "logprobs": 2, "max_tokens": 2});
    described.post(&plain, "/v1/completions", &text);
    let streamed = with(with(text, usage), json!({"stream": true}));
    described.stream(&plain, "/v1/completions", &streamed);
    described.post(&plain, "/v1/completions", &json!({"prompt": [[1, 2], [3]]}));

    for kind in ["float", "base64"] {
        let body = json!({"input": ["a", "b"], "encoding_format": kind});
        described.post(&plain, "/v1/embeddings", &body);
    }
    for pieces in [false, true] {
        let body = json!({"content": "ab", "with_pieces": pieces});
        described.post(&plain, "/tokenize", &body);
    }
    described.post(&plain, "/detokenize", &json!({"tokens": [1]}));
    described.post(&plain, "/apply-template", &hello());

    let functions = json!({"tools": [{"type": "function", "name": "f"}]});
    let input = json!({"input": "Hi"});
    for body in [
        with(input.clone(), functions),
        with(input.clone(), json!({"max_output_tokens": 2})),
    ] {
        described.post(&calling, "/v1/responses", &body);
        described.stream(&calling, "/v1/responses", &body);
    }
    described.stream(&failing(), "/v1/responses", &input);

    let spoken = with(hello(), json!({"max_tokens": 99}));
    let tools = json!({"tools": [{"name": "f", "input_schema": {}}]});
    for body in [
        with(spoken.clone(), tools),
        with(spoken.clone(), json!({"max_tokens": 2})),
    ] {
        described.post(&calling, "/v1/messages", &body);
        described.stream(&calling, "/v1/messages", &body);
    }
    described.stream(&failing(), "/v1/messages", &spoken);
    described.post(&plain, "/v1/messages/count_tokens", &hello());

    described.get(&plain, "/v1/models", "/v1/models");
    described.get(&plain, "/v1/models/m", "/v1/models/{id}");
    described.get(&plain, "/health", "/health");
    described.get(&plain, "/openapi.json", "/openapi.json");
    let failed = failing();
    assert_eq!(failed.post(CHAT, &hello()).status, 500);
    failed.wait_for(|s| s.get("/health").status == 503);
    described.get(&failed, "/health", "/health");
    for path in [CHAT, "/v1/messages"] {
        let answer = plain.post(path, &json!({"messages": 5, "max_tokens": 1}));
        assert_eq!(answer.status, 400);
        let schema = described.answer(path, "default", "application/json");
        described.check(&schema, &answer.json());
    }

    let mut all = BTreeSet::new();
    for (name, schema) in described.schemas.as_object().unwrap() {
        Described::fields(schema, name, &mut all);
    }
    assert!(all.len() > 150, "{} fields are described", all.len());
    let missed: Vec<&String> = all.difference(&described.seen).collect();
    assert!(missed.is_empty(), "described, and never seen: {missed:#?}");
}

/// What the description does not allow, the parser refuses.
#[test]
fn what_is_not_as_described_is_refused() {
    let described = Described::new();
    let server = Server::start(Options {
        template: Some(TOOL_TEMPLATE),
        ..Options::default()
    });
    let said = |message: Value| json!({"messages": [message]});
    let asked = |more: Value| with(hello(), more);
    for (path, body) in [
        (CHAT, json!({"messages": []})),
        (CHAT, said(json!({"role": "robot", "content": "x"}))),
        (CHAT, said(json!({"role": "user"}))),
        (CHAT, said(json!({"role": "user", "content": 5}))),
        (
            CHAT,
            said(json!({"role": "user", "content": "x", "mood": "good"})),
        ),
        (
            CHAT,
            said(json!({"role": "user", "content": [{"type": "image_url", "image_url": {}}]})),
        ),
        (CHAT, said(json!({"role": "tool", "content": "x"}))),
        (CHAT, asked(json!({"tools": [{"type": "web_search"}]}))),
        (
            CHAT,
            asked(json!({"tools": [{"type": "function", "function": {}}]})),
        ),
        (CHAT, asked(json!({"tool_choice": "sometimes"}))),
        (CHAT, asked(json!({"response_format": {"type": "yaml"}}))),
        (CHAT, asked(json!({"response_format": {"type": "regex"}}))),
        (
            CHAT,
            asked(json!({"response_format": {"type": "json_schema", "json_schema": {}}})),
        ),
        (CHAT, asked(json!({"top_k": 1000}))),
        (CHAT, asked(json!({"temperature": 2.5}))),
        (CHAT, asked(json!({"repetition_penalty": 0}))),
        (CHAT, asked(json!({"stop": ""}))),
        (CHAT, asked(json!({"stop": vec!["x"; 65]}))),
        (CHAT, asked(json!({"n": 0}))),
        (CHAT, asked(json!({"logit_bias": {"5": 101}}))),
        (CHAT, asked(json!({"max_tokens": 0}))),
        (CHAT, asked(json!({"audio": {}}))),
        (CHAT, asked(json!({"store": true}))),
        ("/v1/completions", json!({"prompt": []})),
        ("/v1/completions", json!({"prompt": 5})),
        ("/v1/completions", json!({"prompt": ["a", 1]})),
        ("/v1/completions", json!({"prompt": "x", "logprobs": 21})),
        (
            "/v1/embeddings",
            json!({"input": "x", "encoding_format": "hex"}),
        ),
    ] {
        let mut schema = described.request(path);
        close(&mut schema);
        assert!(
            described.problem(&schema, &body).is_some(),
            "{body} is described"
        );
        let answer = server.post(path, &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
    }
}
