//! A message, whole and in events.

use serde_json::{Value, json};
use ternary::session::service::Usage;

use crate::commands::serve::ids;
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::turn::End;
use crate::commands::serve::writing::{self, Written};

/// Writes a message as it grows: the object, and the events that say how it came to be.
pub struct Writer {
    message: Value,
    text: String,
    open: bool,
}

impl Writer {
    pub fn new(model: &str, prompt: usize) -> Self {
        let usage = Usage {
            prompt_tokens: prompt,
            ..Usage::default()
        };
        Writer {
            message: json!({"id": ids::new("msg_"), "type": "message", "role": "assistant",
                "model": model, "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": usage_json(usage)}),
            text: String::new(),
            open: false,
        }
    }
}

impl writing::Writer for Writer {
    fn begin(&mut self) -> Written {
        vec![
            json!({"type": "message_start", "message": self.message}),
            json!({"type": "ping"}),
        ]
    }

    fn text(&mut self, text: &str) -> Written {
        let mut written = Vec::new();
        if !self.open {
            self.open = true;
            let block = json!({"type": "text", "text": ""});
            written
                .push(json!({"type": "content_block_start", "index": 0, "content_block": block}));
        }
        self.text += text;
        let delta = json!({"type": "text_delta", "text": text});
        written.push(json!({"type": "content_block_delta", "index": 0, "delta": delta}));
        written
    }

    fn end(&mut self, end: &End) -> Written {
        let mut written = Vec::new();
        let mut content = Vec::new();
        if self.open {
            written.push(json!({"type": "content_block_stop", "index": 0}));
            content.push(json!({"type": "text", "text": self.text}));
        }
        for call in &end.calls {
            let index = content.len();
            let block = |input: Value| json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input});
            let delta = json!({"type": "input_json_delta", "partial_json": call.arguments});
            written.extend([
                json!({"type": "content_block_start", "index": index, "content_block": block(json!({}))}),
                json!({"type": "content_block_delta", "index": index, "delta": delta}),
                json!({"type": "content_block_stop", "index": index}),
            ]);
            let input = serde_json::from_str(&call.arguments);
            content.push(block(
                input.unwrap_or_else(|_| call.arguments.as_str().into()),
            ));
        }
        let reason = match (end.calls.is_empty(), &end.stop, end.cut) {
            (false, ..) => "tool_use",
            (_, Some(_), _) => "stop_sequence",
            (.., true) => "max_tokens",
            _ => "end_turn",
        };
        self.message["content"] = content.into();
        self.message["stop_reason"] = reason.into();
        self.message["stop_sequence"] = end.stop.clone().into();
        self.message["usage"] = usage_json(end.usage);
        written.extend([
            json!({"type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": end.stop},
                "usage": self.message["usage"]}),
            json!({"type": "message_stop"}),
        ]);
        written
    }

    fn fail(&mut self, refusal: &Refusal) -> Written {
        vec![refusal.anthropic()]
    }

    fn whole(&self) -> &Value {
        &self.message
    }
}

/// Tokens that were read before are counted apart.
fn usage_json(usage: Usage) -> Value {
    json!({"input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.generated_tokens})
}
