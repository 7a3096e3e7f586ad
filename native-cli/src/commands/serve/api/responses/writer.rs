//! A response, whole and in events.

use serde_json::{Map, Value, json};
use ternary::session::service::Usage;

use crate::commands::serve::ids;
use crate::commands::serve::models::now;
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::turn::End;
use crate::commands::serve::writing::{self, Written};
use crate::output;

/// Writes a response as it grows: the object, and the events that say how it came to be.
pub struct Writer {
    response: Value,
    events: u64,
    /// Of the message, once there is one.
    message: Option<String>,
    text: String,
}

impl Writer {
    pub fn new(model: String, echoed: Map<String, Value>, sampling: (f32, f32)) -> Self {
        let mut response = json!({
            "id": ids::new("resp_"), "object": "response", "created_at": now(), "status": "in_progress",
            "background": false, "error": null, "incomplete_details": null, "model": model, "output": [],
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null}, "service_tier": "default", "store": false,
            "truncation": "disabled", "top_logprobs": 0, "usage": null, "user": null,
        });
        for (name, value) in echoed {
            response[name] = value;
        }
        let (temperature, top_p) = sampling;
        for (name, value) in [("temperature", temperature), ("top_p", top_p)] {
            if response[name].is_null() {
                // As it was said: 0.7, not the f64 nearest to the f32.
                response[name] = output::json(&value).unwrap_or_default();
            }
        }
        Writer {
            response,
            events: 0,
            message: None,
            text: String::new(),
        }
    }

    fn event(&mut self, kind: &str, more: Value) -> Value {
        let mut event = json!({"type": kind, "sequence_number": self.events});
        self.events += 1;
        if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
            event.extend(more);
        }
        event
    }

    fn message(id: &str, status: &str, content: Value) -> Value {
        json!({"id": id, "type": "message", "status": status, "role": "assistant",
            "content": content})
    }

    fn part(text: &str) -> Value {
        json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
    }
}

impl writing::Writer for Writer {
    fn begin(&mut self) -> Written {
        let response = self.response.clone();
        ["response.created", "response.in_progress"]
            .map(|kind| self.event(kind, json!({"response": response})))
            .into()
    }

    fn text(&mut self, text: &str) -> Written {
        let mut written = Vec::new();
        let id = match &self.message {
            Some(id) => id.clone(),
            None => {
                let id = ids::new("msg_");
                self.message = Some(id.clone());
                let item = Self::message(&id, "in_progress", json!([]));
                written.push(self.event(
                    "response.output_item.added",
                    json!({"output_index": 0, "item": item}),
                ));
                written.push(self.event(
                    "response.content_part.added",
                    json!({"item_id": id, "output_index": 0, "content_index": 0, "part": Self::part("")}),
                ));
                id
            }
        };
        self.text += text;
        written.push(self.event(
            "response.output_text.delta",
            json!({"item_id": id, "output_index": 0, "content_index": 0, "delta": text, "logprobs": []}),
        ));
        written
    }

    fn end(&mut self, end: &End) -> Written {
        let mut written = Vec::new();
        // A reply without calls has a message, if an empty one.
        if self.message.is_none() && end.calls.is_empty() {
            written = self.text("");
        }
        let status = if end.cut { "incomplete" } else { "completed" };
        let mut output = Vec::new();
        if let Some(id) = self.message.take() {
            let part = Self::part(&self.text);
            let place = json!({"item_id": id, "output_index": 0, "content_index": 0});
            let with = |name: &str, value: Value| {
                let mut place = place.clone();
                place[name] = value;
                place
            };
            let mut done = with("text", self.text.as_str().into());
            done["logprobs"] = json!([]);
            let part_done = with("part", part.clone());
            let item = Self::message(&id, status, json!([part]));
            written.push(self.event("response.output_text.done", done));
            written.push(self.event("response.content_part.done", part_done));
            written.push(self.event(
                "response.output_item.done",
                json!({"output_index": 0, "item": item}),
            ));
            output.push(item);
        }
        for call in &end.calls {
            let (id, index) = (ids::new("fc_"), output.len());
            let item = |status: &str, arguments: &str| {
                json!({"id": id, "type": "function_call", "status": status, "call_id": call.id,
                    "name": call.name, "arguments": arguments})
            };
            let added = json!({"output_index": index, "item": item("in_progress", "")});
            let delta = json!({"item_id": id, "output_index": index, "delta": call.arguments});
            let done = json!({"item_id": id, "output_index": index, "name": call.name,
                "arguments": call.arguments});
            let item = item("completed", &call.arguments);
            let whole = json!({"output_index": index, "item": item});
            for (kind, more) in [
                ("response.output_item.added", added),
                ("response.function_call_arguments.delta", delta),
                ("response.function_call_arguments.done", done),
                ("response.output_item.done", whole),
            ] {
                written.push(self.event(kind, more));
            }
            output.push(item);
        }
        self.response["output"] = output.into();
        self.response["status"] = status.into();
        self.response["usage"] = usage_json(end.usage);
        if end.cut {
            self.response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        let response = self.response.clone();
        let kind = format!("response.{status}");
        written.push(self.event(&kind, json!({"response": response})));
        written
    }

    fn fail(&mut self, refusal: &Refusal) -> Written {
        self.response["status"] = "failed".into();
        self.response["error"] = json!({"code": refusal.code.unwrap_or("server_error"),
            "message": refusal.message});
        let response = self.response.clone();
        vec![self.event("response.failed", json!({"response": response}))]
    }

    fn whole(&self) -> &Value {
        &self.response
    }
}

fn usage_json(usage: Usage) -> Value {
    json!({"input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.generated_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.generated_tokens})
}
