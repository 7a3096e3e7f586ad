use ternary::chat::{Message, ToolCall};

use super::*;
use crate::commands::serve::turn::End;
use crate::commands::serve::writing::{Writer as _, Written};
use ternary::session::ToolChoice;

#[test]
fn input_is_a_text_or_items() {
    let ask =
        Ask::read(json!({"input": "Hi", "instructions": "Be brief.", "max_output_tokens": 5}))
            .unwrap();
    assert_eq!(
        ask.talk.messages,
        [
            Message::new("system", "Be brief."),
            Message::new("user", "Hi")
        ]
    );
    assert_eq!(ask.wishes.max_tokens, 5);
    let refused = json!({"type": "refusal", "refusal": "No."});
    let ask = Ask::read(
        json!({"instructions": "", "reasoning": {"effort": null, "generate_summary": null},
        "input": [{"role": "assistant", "content": [refused]}, {"role": "user", "content": "Why?"}]}),
    );
    let said = [
        Message::new("assistant", "No."),
        Message::new("user", "Why?"),
    ];
    assert_eq!(ask.unwrap().talk.messages, said);
    let ask = Ask::read(json!({"input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
         "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "sunny"},
        {"type": "function_call_output", "call_id": "b", "output": "cold"},
    ], "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
       "tool_choice": {"type": "function", "name": "f"}}))
    .unwrap();
    let roles: Vec<&str> = ask.talk.messages.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool"]);
    let turn = &ask.talk.messages[1];
    assert_eq!(turn.content, "Let me see.");
    assert_eq!(turn.more["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(
        ask.talk.demands.choice,
        ToolChoice::Always(Some("f".into()))
    );
}

#[test]
fn what_is_wrong_is_named() {
    for (body, name) in [
        (json!({}), "input"),
        (json!({"input": 5}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": [{"type": "input_image"}]}), "input[0].type"),
        (
            json!({"input": [{"role": "robot", "content": "x"}]}),
            "input[0].role",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
            "input[0].content[0].type",
        ),
        (json!({"input": "x", "store": true}), "store"),
        (
            json!({"input": "x", "previous_response_id": "resp_1"}),
            "previous_response_id",
        ),
        (
            json!({"input": "x", "reasoning": {"effort": "low"}}),
            "reasoning",
        ),
        (json!({"input": "x", "truncation": "auto"}), "truncation"),
        (
            json!({"input": "x", "tools": [{"type": "web_search"}]}),
            "tools[0].type",
        ),
        (
            json!({"input": "x", "tools": [{"type": "function", "name": "f", "strict": "yes"}]}),
            "tools[0].strict",
        ),
        (
            json!({"input": "x", "tools": [{"type": "function", "name": "f", "parameters": {"type": "array"}}]}),
            "tools[0].parameters.type",
        ),
        (json!({"input": "x", "tool_choice": "maybe"}), "tool_choice"),
        (
            json!({"input": "x", "text": {"format": {"type": "xml"}}}),
            "text.format.type",
        ),
        (
            json!({"input": "x", "text": {"verbosity": "high"}}),
            "text.verbosity",
        ),
        (json!({"input": "x", "max_tokens": 5}), "max_tokens"),
    ] {
        let refusal = Ask::read(body).err().unwrap();
        assert_eq!(refusal.param.as_deref(), Some(name), "{}", refusal.message);
    }
}

fn kinds(written: &Written) -> Vec<&str> {
    written
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

#[test]
fn events_tell_how_a_response_came_to_be() {
    let mut writer = Writer::new("m".into(), Map::new(), (0.5, 0.9));
    let mut all = writer.begin();
    all.extend(writer.text("Hel"));
    all.extend(writer.text("lo"));
    let call = ToolCall {
        id: "c".into(),
        name: "f".into(),
        arguments: "{}".into(),
    };
    all.extend(writer.end(&End {
        calls: vec![call],
        ..End::default()
    }));
    assert_eq!(
        kinds(&all),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (i, event) in all.iter().enumerate() {
        assert_eq!(event["sequence_number"], i);
    }
    let response = &all.last().unwrap()["response"];
    assert_eq!(response["output"][0]["content"][0]["text"], "Hello");
    assert_eq!(response["output"][1]["call_id"], "c");
    assert_eq!(
        (&response["status"], &response["temperature"]),
        (&json!("completed"), &json!(0.5))
    );
    let mut writer = Writer::new("m".into(), Map::new(), (0.5, 0.9));
    let cut = writer.end(&End {
        cut: true,
        ..End::default()
    });
    assert_eq!(kinds(&cut).last(), Some(&"response.incomplete"));
    assert_eq!(writer.whole()["output"][0]["content"][0]["text"], "");
    let failed = writer.fail(&Refusal::failed("oh"));
    assert_eq!(failed[0]["response"]["error"]["message"], "oh");
}
