//! A model of the page's own server (`onebit serve`), which answers in place of one in this
//! browser: requests in OpenAI's shape, answers as server-sent events.

use std::time::Duration;

use js_sys::Array;
use serde_json::{Map, Value, json};
use ternary::backend::{DeviceInfo, DeviceKind};
use ternary::chat::ToolCall;
use ternary::config::{LayerBitMap, ModelConfig, QuantMode};
use ternary::infer::{Form, Sampling};
use ternary::platform::Instant;
use ternary::session::{
    Command, Demands, Event, FinishReason, Message, ModelInfo, Stats, ToolChoice,
};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStreamDefaultReader, RequestInit};

use super::cancel::Cancel;
use super::fetch::next;
use super::http::{self, pair};
use super::{Job, Responder};
use crate::js::describe;
use crate::protocol::Response;

/// Of the server's answers.
const TOO_LONG: &str = "context_length_exceeded";
const UNAUTHORIZED: u16 = 401;
/// What the server may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(10);

/// A model that the server answers with.
pub struct Served {
    model: String,
    key: String,
    context: usize,
}

/// Finds a model, the first where none is named. Answered as a load is.
pub async fn load(model: &str, key: &str, job: &Job) -> Option<Served> {
    let start = Instant::now();
    match find(model, key, &job.cancel, start).await {
        Ok((served, models, info)) => {
            let model = served.model.clone();
            job.responder.send(Response::Served { model, models });
            let model = Box::new(info);
            job.responder.event(Event::Loaded { model });
            return Some(served);
        }
        Err(_) if job.cancel.is_raised() => job.responder.send(Response::Cancelled),
        Err(problem) => job.responder.send(Response::Unreachable(problem)),
    }
    None
}

async fn find(
    model: &str,
    key: &str,
    cancel: &Cancel,
    start: Instant,
) -> Result<(Served, Vec<String>, ModelInfo), String> {
    let url = http::address("v1/models")?;
    let options = http::options("GET", cancel);
    options.set_headers(&headers(key));
    let response = http::request_within(&url, options, Some(PATIENCE)).await?;
    if !response.ok() {
        return Err(told(&response).await.1);
    }
    let list = json_of(&response).await?;
    let all = list["data"].as_array().map_or(&[][..], Vec::as_slice);
    let names = all.iter().filter_map(|card| card["id"].as_str());
    let names: Vec<String> = names.map(str::to_owned).collect();
    let named = |card: &&Value| card["id"] == model;
    let card = match (model, all.first()) {
        ("", first) => first,
        (_, _) => all.iter().find(named),
    };
    let card = card.ok_or_else(|| {
        format!(
            "the server has no model {model}; it has {}",
            names.join(", ")
        )
    })?;
    let id = card["id"].as_str().unwrap_or_default().to_owned();
    let Some(context) = card["max_model_len"].as_u64() else {
        return Err(format!(
            "{id} is not ready on the server yet; try again in a moment"
        ));
    };
    let info = described(&id, card, context as usize, start);
    let served = Served {
        model: id,
        key: key.to_owned(),
        context: context as usize,
    };
    Ok((served, names, info))
}

/// What the page shows of it: nothing is known of its weights.
fn described(id: &str, card: &Value, context: usize, start: Instant) -> ModelInfo {
    let meta = &card["meta"];
    let number = |name: &str| meta[name].as_u64().unwrap_or(0);
    let text = |name: &str| meta[name].as_str().unwrap_or_default().to_owned();
    let device = text("device");
    ModelInfo {
        name: id.to_owned(),
        description: text("description"),
        file_bytes: number("file_bytes"),
        matrix_bytes: 0,
        parameters: number("parameters") as usize,
        config: ModelConfig {
            max_seq_len: context,
            ..ModelConfig::default()
        },
        context,
        bit_map: LayerBitMap::sandwich(0, QuantMode::F16),
        weight_bytes: 0,
        cache_bytes: 0,
        program_bytes: None,
        chat: meta["chat"] == true,
        sampling: serde_json::from_value(meta["sampling"].clone()).unwrap_or_default(),
        adapters: Vec::new(),
        adapter: None,
        device: DeviceInfo {
            kind: match device.to_lowercase().contains("gpu") {
                true => DeviceKind::Gpu,
                false => DeviceKind::Cpu,
            },
            // "cpu (AVX2, 4 threads)": the kind stands before it already.
            name: match device.split_once(" (") {
                Some((_, name)) => format!("{}, on the server", name.trim_end_matches(')')),
                None => "on the server".to_owned(),
            },
            software: false,
        },
        device_reason: "replies come from this page's server".to_owned(),
        load_ms: start.elapsed().as_secs_f64() * 1e3,
    }
}

fn headers(key: &str) -> Array {
    let headers = Array::of1(&pair("content-type", "application/json"));
    if !key.is_empty() {
        headers.push(&pair("authorization", &format!("Bearer {key}")));
    }
    headers
}

async fn json_of(response: &web_sys::Response) -> Result<Value, String> {
    let text = JsFuture::from(response.text().map_err(describe)?)
        .await
        .map_err(describe)?;
    let text = text.as_string().unwrap_or_default();
    serde_json::from_str(&text).map_err(|problem| format!("the server's answer: {problem}"))
}

/// The code and the words of a refusal.
async fn told(response: &web_sys::Response) -> (String, String) {
    let status = response.status();
    let body = json_of(response).await.unwrap_or_default();
    let error = &body["error"];
    let code = error["code"].as_str().unwrap_or_default().to_owned();
    let message = match (status, error["message"].as_str()) {
        (UNAUTHORIZED, _) => {
            "the server asks for a key: enter it under “Device” and try again".to_owned()
        }
        (_, Some(message)) => message.to_owned(),
        (status, None) => format!("the server answers {status}"),
    };
    (code, message)
}

/// What has come of a reply.
struct Reply {
    start: Instant,
    first: Option<Instant>,
    stats: Stats,
    calls: Vec<ToolCall>,
    reason: FinishReason,
}

impl Served {
    /// Does what `command` says; it can be given up.
    pub async fn answer(&self, command: Command, job: &Job) {
        let responder = job.responder;
        let done = match command {
            Command::Reset => return,
            Command::Move { .. } => Err("the model runs on the server".to_owned()),
            Command::Adapt { .. } => {
                Err("the server's adapters are chosen like its models".to_owned())
            }
            Command::Generate {
                prompt,
                sampling,
                form,
            } => {
                let mut body = self.body(&sampling);
                body.insert("prompt".to_owned(), prompt.into());
                with_form(&mut body, form.as_ref());
                let sent = self.send("v1/completions", body, 0, job).await;
                sent.map_err(|(_, message)| message)
            }
            Command::Chat {
                messages,
                sampling,
                demands,
            } => self.chat(messages, &sampling, &demands, job).await,
        };
        if let Err(problem) = done {
            responder.error(problem);
        }
    }

    /// Leaves out the oldest turns of what does not fit.
    async fn chat(
        &self,
        mut messages: Vec<Message>,
        sampling: &Sampling,
        demands: &Demands,
        job: &Job,
    ) -> Result<(), String> {
        let mut dropped = 0;
        loop {
            let mut body = self.body(sampling);
            body.insert(
                "messages".to_owned(),
                messages.iter().map(message).collect(),
            );
            with_form(&mut body, demands.form.as_ref());
            with_tools(&mut body, demands);
            let sent = self.send("v1/chat/completions", body, dropped, job).await;
            let (code, problem) = match sent {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let system = messages.iter().take_while(|m| m.role == "system").count();
            let turns = messages.iter().enumerate().skip(system);
            let mut turns = turns.filter(|(_, message)| message.role == "user");
            match (code.as_str(), turns.nth(1)) {
                (TOO_LONG, Some((second, _))) => {
                    dropped += second - system;
                    messages.drain(system..second);
                }
                _ => return Err(problem),
            }
        }
    }

    fn body(&self, sampling: &Sampling) -> Map<String, Value> {
        let body = json!({
            "model": self.model,
            "stream": true,
            "stream_options": {"include_usage": true},
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "repetition_penalty": sampling.repetition_penalty,
            "seed": sampling.seed,
            "max_tokens": sampling.max_tokens,
            "stop": sampling.stop,
        });
        match body {
            Value::Object(body) => body,
            _ => Map::new(),
        }
    }

    /// Sends a request and tells what comes; a refusal is given back.
    async fn send(
        &self,
        path: &str,
        body: Map<String, Value>,
        dropped: usize,
        job: &Job,
    ) -> Result<(), (String, String)> {
        let own = |message: String| (String::new(), message);
        let mut reply = Reply {
            start: Instant::now(),
            first: None,
            stats: Stats {
                context_size: self.context,
                dropped_messages: dropped,
                ..Stats::default()
            },
            calls: Vec::new(),
            reason: FinishReason::End,
        };
        let options: RequestInit = http::options("POST", &job.cancel);
        options.set_headers(&headers(&self.key));
        options.set_body(&Value::Object(body).to_string().into());
        let url = http::address(path).map_err(own)?;
        let streamed = async {
            let response = http::request(&url, options).await.map_err(own)?;
            if !response.ok() {
                return Err(told(&response).await);
            }
            let Some(body) = response.body() else {
                return Err(own("the server's answer is empty".to_owned()));
            };
            let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
            let mut held: Vec<u8> = Vec::new();
            while let Some(part) = next(&reader).await.map_err(own)? {
                held.extend(part.to_vec());
                while let Some(end) = held.windows(2).position(|two| two == b"\n\n") {
                    let event: Vec<u8> = held.drain(..end + 2).collect();
                    reply.take(&String::from_utf8_lossy(&event), job.responder)?;
                }
            }
            Ok(())
        };
        match streamed.await {
            Err(_) if job.cancel.is_raised() => reply.reason = FinishReason::Stopped,
            sent => sent?,
        }
        reply.finish(job.responder);
        Ok(())
    }
}

impl Reply {
    /// One event of the stream.
    fn take(&mut self, event: &str, responder: Responder) -> Result<(), (String, String)> {
        let data = event.lines().filter_map(|line| line.strip_prefix("data: "));
        let data: String = data.collect();
        // The last says that it is over.
        let Ok(chunk) = serde_json::from_str::<Value>(&data) else {
            return Ok(());
        };
        if let Some(message) = chunk["error"]["message"].as_str() {
            return Err((String::new(), message.to_owned()));
        }
        let count = |value: &Value| value.as_u64().unwrap_or(0) as usize;
        let usage = &chunk["usage"];
        if usage.is_object() {
            let stats = &mut self.stats;
            stats.prompt_tokens = count(&usage["prompt_tokens"]);
            stats.cached_tokens = count(&usage["prompt_tokens_details"]["cached_tokens"]);
            stats.generated_tokens = count(&usage["completion_tokens"]);
        }
        let choice = &chunk["choices"][0];
        match choice["finish_reason"].as_str() {
            Some("length") => self.reason = FinishReason::Length,
            Some(_) => self.reason = FinishReason::End,
            None => {}
        }
        for call in choice["delta"]["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let place = count(&call["index"]);
            let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if self.calls.len() <= place {
                self.calls.push(ToolCall {
                    id: part(&call["id"]),
                    name: part(&call["function"]["name"]),
                    arguments: String::new(),
                });
            }
            if let Some(last) = self.calls.last_mut() {
                last.arguments += &part(&call["function"]["arguments"]);
            }
        }
        let delta = &choice["delta"]["content"];
        let text = delta.as_str().or_else(|| choice["text"].as_str());
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.first.get_or_insert_with(Instant::now);
            self.stats.context_used += 1;
            responder.event(Event::Token {
                text: text.to_owned(),
            });
        }
        Ok(())
    }

    fn finish(mut self, responder: Responder) {
        let stats = &mut self.stats;
        // Of a reply that was stopped there are no figures: its pieces are its tokens.
        let pieces = std::mem::take(&mut stats.context_used);
        stats.generated_tokens = stats.generated_tokens.max(pieces);
        stats.context_used = stats.prompt_tokens + stats.generated_tokens;
        if let Some(first) = self.first {
            stats.first_token_ms = (first - self.start).as_secs_f64() * 1e3;
            let seconds = first.elapsed().as_secs_f64();
            let after = stats.generated_tokens.saturating_sub(1);
            stats.tokens_per_second = after as f64 / seconds.max(1e-9);
        }
        if !self.calls.is_empty() {
            responder.event(Event::ToolCalls { calls: self.calls });
        }
        responder.event(Event::Finished {
            reason: self.reason,
            stats: self.stats,
        });
    }
}

/// A message as OpenAI has it: the arguments of calls are texts.
fn message(message: &Message) -> Value {
    let mut value = serde_json::to_value(message).unwrap_or_default();
    let calls = value["tool_calls"].as_array_mut();
    for call in calls.into_iter().flatten() {
        let arguments = &mut call["function"]["arguments"];
        if !arguments.is_string() {
            *arguments = arguments.to_string().into();
        }
    }
    // Asking made one where there was none.
    if let Value::Object(fields) = &mut value
        && fields.get("tool_calls").is_some_and(Value::is_null)
    {
        fields.remove("tool_calls");
    }
    value
}

fn with_form(body: &mut Map<String, Value>, form: Option<&Form>) {
    let format = match form {
        // Functions say by themselves that they are strict.
        None | Some(Form::Calls(_) | Form::Call(_)) => return,
        Some(Form::JsonObject) => json!({"type": "json_object"}),
        Some(Form::JsonSchema(text)) => {
            let schema: Value = serde_json::from_str(text).unwrap_or_default();
            json!({"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}})
        }
        Some(Form::Regex(text)) => json!({"type": "regex", "regex": text}),
        Some(Form::Lark(text)) => json!({"type": "grammar", "grammar": text}),
    };
    body.insert("response_format".to_owned(), format);
}

fn with_tools(body: &mut Map<String, Value>, demands: &Demands) {
    if demands.tools.is_empty() {
        return;
    }
    let tools = demands.tools.iter().map(|tool| {
        let mut value = tool.json();
        if tool.strict {
            value["function"]["strict"] = true.into();
        }
        value
    });
    body.insert("tools".to_owned(), tools.collect());
    let choice = match &demands.choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::Never => json!("none"),
        ToolChoice::Always(None) => json!("required"),
        ToolChoice::Always(Some(name)) => json!({"type": "function", "function": {"name": name}}),
    };
    body.insert("tool_choice".to_owned(), choice);
    if demands.one_call {
        body.insert("parallel_tool_calls".to_owned(), false.into());
    }
}
