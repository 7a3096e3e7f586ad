use ternary::chat::ToolCall;

use super::super::super::testing::{self, Setup};
use super::*;

fn body(more: Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn a_request_becomes_one_for_every_reply() {
    let ready = testing::ready(&Setup::default());
    let ask = Ask::read(body(json!({
        "n": 2, "seed": 3, "max_tokens": 5, "logprobs": true, "top_logprobs": 4,
        "temperature": 0.5, "stop": ["a", "b"]
    })))
    .unwrap();
    let requests = ask.requests(&ready).unwrap();
    assert_eq!(requests.len(), 2);
    let seeds: Vec<u64> = requests.iter().map(|r| r.sampling.seed).collect();
    assert_eq!(seeds, [3, 4]);
    let first = &requests[0];
    assert_eq!((first.sampling.max_tokens, first.logprobs), (5, Some(4)));
    assert_eq!(first.sampling.stop, ["a", "b"]);
    assert!(first.in_turns && !first.goes_on && !first.show_specials);
    let text = ready.tokenizer.decode(&first.prompt).unwrap();
    assert_eq!(text, "Hi");
    let none = Ask::read(body(json!({})))
        .unwrap()
        .requests(&ready)
        .unwrap();
    assert_eq!(
        (none[0].sampling.max_tokens, none[0].logprobs),
        (usize::MAX, None)
    );
}

#[test]
fn a_prompt_that_is_too_long_is_told_of() {
    let ready = testing::ready(&Setup {
        context: 4,
        ..Setup::default()
    });
    let refusal = Ask::read(body(json!({})))
        .unwrap()
        .requests(&ready)
        .err()
        .unwrap();
    assert_eq!(refusal.code, Some("context_length_exceeded"));
}

#[test]
fn what_is_wrong_is_named() {
    for (more, name) in [
        (json!({"top_logprobs": 2}), "top_logprobs"),
        (
            json!({"logprobs": true, "top_logprobs": 21}),
            "top_logprobs",
        ),
        (json!({"logprobs": 1}), "logprobs"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (
            json!({"max_tokens": 1, "max_completion_tokens": 2}),
            "max_tokens",
        ),
        (
            json!({"response_format": {"type": "xml"}}),
            "response_format.type",
        ),
        (
            json!({"response_format": {"type": "json_schema"}}),
            "response_format.schema",
        ),
        (
            json!({"response_format": {"type": "regex"}}),
            "response_format.regex",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {}}}),
            "response_format.json_schema.schema",
        ),
        (json!({"store": true}), "store"),
        (json!({"audio": {}}), "audio"),
        (json!({"best_of": 2}), "best_of"),
    ] {
        let refusal = Ask::read(body(more)).err().unwrap();
        assert_eq!(refusal.param.as_deref(), Some(name), "{}", refusal.message);
    }
    let ready = testing::ready(&Setup::default());
    // A schema that no reply can have.
    let format =
        json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}});
    let ask = Ask::read(body(json!({"response_format": format}))).unwrap();
    let refusal = ask.requests(&ready).err().unwrap();
    assert_eq!(refusal.param.as_deref(), Some("response_format"));
    for format in [
        json!({"type": "json_object"}),
        json!({"type": "regex", "regex": "yes|no"}),
        json!({"type": "grammar", "grammar": "start: \"yes\""}),
        json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {}, "strict": true}}),
    ] {
        let ask = Ask::read(body(json!({"response_format": format}))).unwrap();
        let requests = ask.requests(&ready).unwrap();
        assert!(requests.iter().all(|request| request.constraint.is_some()));
    }
}

fn shape() -> Shape {
    Shape {
        id: "chatcmpl-1".into(),
        created: 7,
        model: "m".into(),
        logprobs: false,
        usage: true,
    }
}

fn names(id: u32) -> Vec<u8> {
    vec![b'a' + id as u8]
}

#[test]
fn events_have_openais_shape() {
    let shape = shape();
    let first = shape.begin(1);
    assert_eq!(first["object"], "chat.completion.chunk");
    assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(
        (&first["choices"][0]["index"], &first["usage"]),
        (&json!(1), &Value::Null)
    );
    let piece = Piece {
        text: "b".into(),
        logprobs: Vec::new(),
    };
    let event = shape.piece(0, &piece, &names);
    assert_eq!(event["choices"][0]["delta"], json!({"content": "b"}));
    let end = End {
        calls: vec![ToolCall {
            id: "c".into(),
            name: "f".into(),
            arguments: "{}".into(),
        }],
        ..End::default()
    };
    let events = shape.end(0, &end);
    assert_eq!(events.len(), 2);
    let call = &events[0]["choices"][0]["delta"]["tool_calls"][0];
    assert_eq!(call["function"], json!({"name": "f", "arguments": "{}"}));
    assert_eq!(events[1]["choices"][0]["finish_reason"], "tool_calls");
    let usage = Usage {
        prompt_tokens: 3,
        generated_tokens: 2,
        ..Usage::default()
    };
    let last = shape.usage(usage).unwrap();
    assert_eq!(
        (&last["choices"], &last["usage"]["total_tokens"]),
        (&json!([]), &json!(5))
    );
}

#[test]
fn a_whole_answer_has_openais_shape() {
    let shape = Shape {
        logprobs: true,
        ..shape()
    };
    let piece = Piece {
        text: "b".into(),
        logprobs: vec![TokenLogprob {
            id: 1,
            logprob: -0.5,
            top: vec![(1, -0.5), (2, f32::NEG_INFINITY)],
        }],
    };
    let choice = shape.choice(0, &piece, &End::default(), &names);
    assert_eq!(
        choice["message"],
        json!({"role": "assistant", "content": "b", "refusal": null})
    );
    assert_eq!(choice["finish_reason"], "stop");
    let token = &choice["logprobs"]["content"][0];
    assert_eq!(
        (&token["token"], &token["bytes"]),
        (&json!("b"), &json!([98]))
    );
    assert_eq!(token["top_logprobs"][1]["logprob"], -9999.0);
    // Beside calls alone there is no text.
    let end = End {
        calls: vec![ToolCall {
            id: "c".into(),
            name: "f".into(),
            arguments: "{}".into(),
        }],
        ..End::default()
    };
    let choice = shape.choice(0, &Piece::default(), &end, &names);
    assert_eq!(choice["message"]["content"], Value::Null);
    assert_eq!(choice["message"]["tool_calls"][0]["type"], "function");
    let mut total = Usage::default();
    for _ in 0..2 {
        add_usage(
            &mut total,
            Usage {
                prompt_tokens: 3,
                generated_tokens: 2,
                ..Usage::default()
            },
        );
    }
    assert_eq!((total.prompt_tokens, total.generated_tokens), (3, 4));
}
