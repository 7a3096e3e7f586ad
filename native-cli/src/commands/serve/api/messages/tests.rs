use ternary::chat::{Message, ToolCall};
use ternary::session::ToolChoice;
use ternary::session::service::Usage;

use super::*;
use crate::commands::serve::writing::Writer as _;

use crate::commands::serve::turn::End;

fn body(more: Value) -> Value {
    let mut body = json!({"max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn blocks_become_messages() {
    let ask = Ask::read(body(json!({
        "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sunny"}]},
                {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": true},
                {"type": "text", "text": "Well?"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t3"}]},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any"}, "stop_sequences": ["x"], "top_k": 3,
    })))
    .unwrap();
    let roles: Vec<&str> = ask.talk.messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(
        roles,
        [
            "system",
            "user",
            "assistant",
            "tool",
            "tool",
            "user",
            "tool"
        ]
    );
    assert_eq!(
        ask.talk.messages[2].more["tool_calls"][0]["function"]["arguments"]["a"],
        1
    );
    assert_eq!(ask.talk.messages[4].content, "Error: no");
    assert_eq!(ask.talk.demands.choice, ToolChoice::Always(None));
    assert_eq!((ask.wishes.max_tokens, ask.wishes.top_k), (8, Some(3)));
    assert_eq!(ask.wishes.stop, ["x"]);
    // Nothing said is nothing: no empty message goes in front.
    for system in [json!(""), json!([]), Value::Null] {
        let ask = Ask::read(body(json!({"system": system, "max_tokens": 5.0}))).unwrap();
        assert_eq!(ask.talk.messages, [Message::new("user", "Hi")]);
        assert_eq!(ask.wishes.max_tokens, 5);
    }
}

#[test]
fn a_reply_may_have_to_have_a_form() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "schema": schema});
    let form = Some(Form::JsonSchema(schema.to_string()));
    for (more, at) in [
        (
            json!({"output_config": {"format": format}}),
            "output_config.format",
        ),
        (
            json!({"output_config": {"format": format, "effort": "high"}}),
            "output_config.format",
        ),
        (json!({"output_format": format}), "output_format"),
    ] {
        let ask = Ask::read(body(more)).unwrap();
        assert_eq!(ask.talk.demands.form, form);
        assert_eq!(ask.talk.form_at, at);
    }
    for more in [
        json!({}),
        json!({"output_config": {}}),
        json!({"output_config": {"format": null}}),
    ] {
        assert_eq!(Ask::read(body(more)).unwrap().talk.demands.form, None);
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (body, name) in [
        (
            json!({"messages": [{"role": "user", "content": "x"}]}),
            "max_tokens",
        ),
        (body(json!({"max_tokens": 0})), "max_tokens"),
        (body(json!({"messages": []})), "messages"),
        (
            body(json!({"messages": [{"role": "system", "content": "x"}]})),
            "messages[0].role",
        ),
        (
            body(
                json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}),
            ),
            "messages[0].content[0].type",
        ),
        (
            body(json!({"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]})),
            "messages[0].content[0].type",
        ),
        (body(json!({"system": 5})), "system"),
        (
            body(json!({"thinking": {"type": "enabled", "budget_tokens": 1024}})),
            "thinking",
        ),
        (
            body(json!({"tools": [{"type": "bash_20250124", "name": "bash"}]})),
            "tools[0].type",
        ),
        (body(json!({"tool_choice": {"type": "any"}})), "tool_choice"),
        (
            body(json!({"tool_choice": {"type": "maybe"}})),
            "tool_choice.type",
        ),
        (body(json!({"top_k": -1})), "top_k"),
        (body(json!({"n": 2})), "n"),
        (
            body(json!({"output_config": {"effort": "low"}})),
            "output_config.effort",
        ),
        (
            body(json!({"output_config": {"task_budget": {}}})),
            "output_config.task_budget",
        ),
        (
            body(json!({"output_config": {"format": {"type": "json_schema"}}})),
            "output_config.format.schema",
        ),
        (
            body(
                json!({"output_config": {"format": {"type": "text"}}, "output_format": {"type": "text"}}),
            ),
            "output_format",
        ),
        (body(json!({"thinking": {"type": "adaptive"}})), "thinking"),
        (body(json!({"service_tier": "priority"})), "service_tier"),
        (body(json!({"container": "c"})), "container"),
        (body(json!({"mcp_servers": []})), "mcp_servers"),
        (
            body(json!({"context_management": {}})),
            "context_management",
        ),
        (body(json!({"inference_geo": "eu"})), "inference_geo"),
        (body(json!({"speed": "fast"})), "speed"),
    ] {
        let refusal = Ask::read(body).err().unwrap();
        assert_eq!(refusal.param.as_deref(), Some(name), "{}", refusal.message);
    }
}

fn kinds(written: &[Value]) -> Vec<&str> {
    written
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

#[test]
fn events_tell_how_a_message_came_to_be() {
    let mut writer = Writer::new("m", 5);
    let mut all = writer.begin();
    all.extend(writer.text("Hel"));
    all.extend(writer.text("lo"));
    all.extend(writer.end(&End {
        calls: vec![ToolCall {
            id: "c".into(),
            name: "f".into(),
            arguments: r#"{"a":1}"#.into(),
        }],
        usage: Usage {
            prompt_tokens: 5,
            cached_tokens: 2,
            generated_tokens: 7,
            ..Usage::default()
        },
        ..End::default()
    }));
    assert_eq!(
        kinds(&all),
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    assert_eq!(all[0]["message"]["usage"]["input_tokens"], 5);
    assert_eq!(all[9]["delta"]["stop_reason"], "tool_use");
    assert_eq!(all[9]["usage"]["output_tokens"], 7);
    assert_eq!(writer.whole()["content"][1]["input"], json!({"a": 1}));
    assert_eq!(writer.whole()["usage"]["cache_read_input_tokens"], 2);
    assert_eq!(writer.whole()["usage"]["input_tokens"], 3);
    let reason = |end: End| {
        let mut writer = Writer::new("m", 1);
        writer.end(&end);
        writer.whole()["stop_reason"].clone()
    };
    assert_eq!(reason(End::default()), "end_turn");
    let cut = End {
        cut: true,
        ..End::default()
    };
    assert_eq!(reason(cut), "max_tokens");
    let stopped = End {
        stop: Some("x".into()),
        ..End::default()
    };
    assert_eq!(reason(stopped), "stop_sequence");
}
