//! Every endpoint answers what it should.

use serde_json::{Value, json};

use crate::common::{fixture, run};
use crate::server::{CALL, REPLY, Server, hello, models};

const CHAT: &str = "/v1/chat/completions";

#[test]
fn chats() {
    let server = Server::plain();
    let v = server.post(CHAT, &hello(json!({"n": 2, "seed": 1}))).ok();
    for choice in v["choices"].as_array().unwrap() {
        assert_eq!(choice["message"]["content"], REPLY);
        assert_eq!(choice["finish_reason"], "stop");
    }
    assert_eq!(v["choices"].as_array().unwrap().len(), 2);
    assert!(v["usage"]["prompt_tokens"].as_u64().unwrap() > 5);
    let streamed = hello(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let events = server.post(CHAT, &streamed).events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let parsed: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let text: String = parsed
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, REPLY);
    let usage = &parsed.last().unwrap()["usage"];
    assert_eq!(
        usage["completion_tokens"],
        v["usage"]["completion_tokens"].as_u64().unwrap() / 2
    );
    // Limits, stop texts, forbidden tokens and probabilities.
    let v = server.post(CHAT, &hello(json!({"max_tokens": 2}))).ok();
    assert_eq!(v["choices"][0]["message"]["content"], "I do hear");
    assert_eq!(v["choices"][0]["finish_reason"], "length");
    let v = server.post(CHAT, &hello(json!({"stop": [" you"]}))).ok();
    assert_eq!(v["choices"][0]["message"]["content"], "I do hear");
    let v = server
        .post(CHAT, &hello(json!({"logprobs": true, "top_logprobs": 3})))
        .ok();
    let scored = v["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!((scored.len(), &scored[0]["token"]), (3, &json!("I do")));
    assert_eq!(scored[0]["top_logprobs"].as_array().unwrap().len(), 3);
    assert_eq!(
        scored[0]["top_logprobs"][0]["logprob"],
        scored[0]["logprob"]
    );
    assert!(scored[0]["logprob"].as_f64().unwrap() <= 0.0);
    let body = json!({"content": "x", "with_pieces": true});
    server.post("/tokenize", &body).ok();
    let forbidden = server.post("/detokenize", &json!({"tokens": [256]})).ok();
    assert_eq!(forbidden["content"], "I do");
    let v = server
        .post(
            CHAT,
            &hello(json!({"logit_bias": {"256": -100}, "max_tokens": 1})),
        )
        .ok();
    assert_ne!(v["choices"][0]["message"]["content"], "I do");
}

#[test]
fn greedy_text_is_that_of_generate() {
    let dir = fixture();
    let server = Server::start(dir, &["--model", "model.1bit"]);
    for prompt in ["The cat", "One day, by the river, the"] {
        let args = [
            "generate",
            "--device",
            "cpu",
            "--threads",
            "1",
            "--model",
            "model.1bit",
            "--prompt",
            prompt,
            "--temperature",
            "0",
            "--max-tokens",
            "20",
            "--json",
        ];
        let alone = run(dir, &args).ok().json();
        let body = json!({"prompt": prompt, "temperature": 0, "max_tokens": 20});
        let served = server.post("/v1/completions", &body).ok();
        assert_eq!(served["choices"][0]["text"], alone["text"], "{prompt}");
    }
}

#[test]
fn completions_are_scored() {
    let dir = fixture();
    let server = Server::start(dir, &["--model", "tiny=model.1bit"]);
    let scored = |more: Value| {
        let mut body = json!({"model": "tiny", "temperature": 0, "echo": true, "logprobs": 1});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        server.post("/v1/completions", &body).ok()
    };
    let v = scored(json!({"prompt": "The cat saw a bird", "max_tokens": 0}));
    let choice = &v["choices"][0];
    assert_eq!(choice["text"], "The cat saw a bird");
    let lp = &choice["logprobs"];
    let count = lp["tokens"].as_array().unwrap().len();
    for key in ["token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(lp[key].as_array().unwrap().len(), count, "{key}");
    }
    assert!(lp["token_logprobs"][0].is_null() && lp["top_logprobs"][0].is_null());
    let joined: String = (lp["tokens"].as_array().unwrap().iter())
        .map(|token| token.as_str().unwrap())
        .collect();
    assert_eq!(joined, "The cat saw a bird");
    // The same as token ids, among others, and with a token more.
    let ids = server
        .post("/tokenize", &json!({"content": "The cat saw a bird"}))
        .ok();
    let ids = ids["tokens"].clone();
    let both = scored(json!({"prompt": [ids.clone(), [70, 71]], "max_tokens": 1}));
    assert_eq!(both["choices"].as_array().unwrap().len(), 2);
    let again = &both["choices"][0]["logprobs"]["token_logprobs"];
    assert_eq!(again.as_array().unwrap().len(), count + 1);
    for i in 1..count {
        let (a, b) = (lp["token_logprobs"][i].as_f64(), again[i].as_f64());
        assert!((a.unwrap() - b.unwrap()).abs() < 1e-4);
    }
    // Greedily chosen tokens are the likeliest.
    let last = &both["choices"][0]["logprobs"];
    let top = last["top_logprobs"][count].as_object().unwrap();
    let most = top
        .values()
        .filter_map(Value::as_f64)
        .fold(f64::MIN, f64::max);
    assert_eq!(last["token_logprobs"][count].as_f64(), Some(most));
}

/// lm-evaluation-harness takes the last token for one that was written.
#[test]
fn the_token_that_ends_a_text_is_scored_too() {
    let server = Server::plain();
    // "!", "I do", " hear", " you": what follows is the end.
    let body = json!({"prompt": [[33, 256, 257, 258]], "echo": true, "logprobs": 1,
        "max_tokens": 1, "temperature": 0});
    let v = server.post("/v1/completions", &body).ok();
    let scores = &v["choices"][0]["logprobs"];
    assert_eq!(scores["tokens"].as_array().unwrap().len(), 5, "{v}");
    assert_eq!(scores["tokens"][4], "<|end|>");
    assert_eq!(v["choices"][0]["text"], "!I do hear you");
    assert_eq!(v["choices"][0]["finish_reason"], "stop");
}

#[test]
fn other_shapes() {
    let server = Server::plain();
    let v = server
        .post(
            "/v1/responses",
            &json!({"input": "Hello", "temperature": 0}),
        )
        .ok();
    assert_eq!(v["output"][0]["content"][0]["text"], REPLY);
    assert_eq!(v["status"], "completed");
    let body = json!({"input": "Hello", "temperature": 0, "stream": true});
    let streamed = server.post("/v1/responses", &body);
    assert!(
        streamed.body.contains("event: response.completed"),
        "{}",
        streamed.body
    );
    let v = server
        .post("/v1/messages", &hello(json!({"max_tokens": 50})))
        .ok();
    assert_eq!(v["content"][0]["text"], REPLY);
    assert_eq!(v["stop_reason"], "end_turn");
    let body = hello(json!({"max_tokens": 50, "stop_sequences": [" hear"], "stream": true}));
    let streamed = server.post("/v1/messages", &body);
    assert!(
        streamed.body.contains("\"stop_reason\":\"stop_sequence\""),
        "{}",
        streamed.body
    );
    assert!(streamed.body.contains("event: message_stop"));
    let body = json!({"messages": [{"role": "user", "content": "Hello"}]});
    let counted = server.post("/v1/messages/count_tokens", &body).ok();
    let shown = server.post("/apply-template", &body).ok();
    assert_eq!(counted["input_tokens"], shown["count"]);
    assert_eq!(shown["prompt"], "<|user|>Hello<|end|><|assistant|>");
    let v = server
        .post("/v1/embeddings", &json!({"input": ["a", "a", "bcd"]}))
        .ok();
    let rows: Vec<Vec<f64>> = (v["data"].as_array().unwrap().iter())
        .map(|row| serde_json::from_value(row["embedding"].clone()).unwrap())
        .collect();
    assert_eq!((rows.len(), rows[0].len()), (3, 128));
    assert_eq!(rows[0], rows[1]);
    let length = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!(rows.iter().all(|row| (length(row) - 1.0).abs() < 1e-3));
    assert_eq!(server.get("/health").ok()["status"], "ok");
    let figures = server.get("/metrics").body;
    assert!(
        figures.contains("onebit_first_token_seconds_count"),
        "{figures}"
    );
    let first = &server.get("/v1/models").ok()["data"][0];
    assert_eq!(
        (&first["id"], &first["meta"]["chat"]),
        (&json!("m"), &json!(true))
    );
}

#[test]
fn tools_are_called() {
    let server = Server::start(models(), &["--model", "caller.1bit"]);
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let v = server.post(CHAT, &hello(json!({"tools": tools}))).ok();
    let choice = &v["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{v}");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(
        call["function"],
        json!({"name": "f", "arguments": "{\"a\":1}"})
    );
    // What the call gave goes back in.
    let talk = json!({"temperature": 0, "tools": tools, "messages": [
        {"role": "user", "content": "Hello"}, choice["message"],
        {"role": "tool", "tool_call_id": call["id"], "content": "2"}]});
    server.post(CHAT, &talk).ok();
    let v = server.post(CHAT, &hello(json!({}))).ok();
    assert_eq!(v["choices"][0]["message"]["content"], CALL);
}

#[test]
fn two_models_and_an_adapter() {
    let args = [
        "--model",
        "one=m.1bit",
        "--model",
        "two=caller.1bit",
        "--adapter",
        "poet=poet",
    ];
    let server = Server::start(models(), &args);
    let ids: Vec<String> = (server.get("/v1/models").ok()["data"]
        .as_array()
        .unwrap()
        .iter())
    .map(|model| model["id"].as_str().unwrap().to_owned())
    .collect();
    assert_eq!(ids, ["one", "one:poet", "two"]);
    for (model, text) in [
        ("one", REPLY),
        ("one:poet", REPLY),
        ("poet", REPLY),
        ("two", CALL),
    ] {
        let v = server.post(CHAT, &hello(json!({"model": model}))).ok();
        assert_eq!(v["choices"][0]["message"]["content"], text, "{model}");
    }
    let missing = server.post(CHAT, &hello(json!({"model": "three"})));
    assert_eq!(missing.status, 404);
    assert!(
        missing.body.contains("one, one:poet, two"),
        "{}",
        missing.body
    );
}

#[test]
fn replies_have_the_form_that_is_asked_for() {
    let server = Server::plain();
    let schema = json!({
        "type": "object",
        "properties": {
            "mood": { "enum": ["glad", "sad"] },
            "sure": { "type": "boolean" },
        },
        "required": ["mood", "sure"],
        "additionalProperties": false,
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "mood", "schema": schema}});
    for temperature in [0.0, 1.0] {
        let body = hello(json!({
            "response_format": format, "temperature": temperature, "max_tokens": 300, "seed": 3,
        }));
        let v = server.post(CHAT, &body).ok();
        let choice = &v["choices"][0];
        assert_eq!(choice["finish_reason"], "stop", "{v}");
        let content = choice["message"]["content"].as_str().unwrap();
        let said: Value = serde_json::from_str(content).unwrap();
        assert!(
            ["glad", "sad"].contains(&said["mood"].as_str().unwrap()),
            "{content}"
        );
        assert!(
            said["sure"].is_boolean() && said.as_object().unwrap().len() == 2,
            "{content}"
        );
    }
    // The other one's tools would have to be explained, at the length of its context.
    let server = Server::start(models(), &["--model", "caller.1bit"]);
    let tools = json!([{"type": "function", "function": {"name": "close", "parameters": {
        "type": "object",
        "properties": { "door": { "enum": ["front", "back"] } },
        "required": ["door"],
        "additionalProperties": false,
    }}}]);
    for choice in [
        json!("required"),
        json!({"type": "function", "function": {"name": "close"}}),
    ] {
        let body = hello(json!({
            "tools": tools, "tool_choice": choice, "temperature": 1, "seed": 4,
        }));
        let v = server.post(CHAT, &body).ok();
        let reply = &v["choices"][0];
        assert_eq!(reply["finish_reason"], "tool_calls", "{v}");
        let call = &reply["message"]["tool_calls"][0]["function"];
        assert_eq!(call["name"], "close");
        let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        assert!(
            ["front", "back"].contains(&arguments["door"].as_str().unwrap()),
            "{v}"
        );
    }
}

/// What programs send that says nothing new, or says it in another way.
#[test]
fn what_clients_send_is_taken() {
    let server = Server::plain();
    let chat = |more: Value| server.post("/v1/chat/completions", &hello(more));
    chat(json!({"top_p": 0, "max_tokens": 3.0, "n": 1.0, "seed": 1e1})).ok();
    chat(json!({"seed": 18_446_744_073_709_551_615_u64, "max_tokens": 2})).ok();
    let said = json!([
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": null, "refusal": "No.", "annotations": [], "parsed": null},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "parsed": {"a": 1}},
        {"role": "user", "content": "Why?"},
    ]);
    chat(json!({"messages": said, "max_tokens": 2})).ok();
    server
        .post("/v1/responses", &json!({"input": "Hi", "max_output_tokens": 2, "reasoning": {"effort": null, "summary": null}}))
        .ok();
    let tool = |strict: Value| json!([{"name": "f", "input_schema": {"type": "object"}, "strict": strict}]);
    for strict in [json!(true), json!(false), Value::Null] {
        let body = json!({"max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}], "tools": tool(strict)});
        server.post("/v1/messages", &body).ok();
    }
    // What is refused is named.
    for (more, param) in [
        (json!({"repetition_penalty": 0}), "repetition_penalty"),
        (json!({"top_p": 1.5}), "top_p"),
        (json!({"max_tokens": 1.5}), "max_tokens"),
        (json!({"max_tokens": 0}), "max_tokens"),
    ] {
        let refused = chat(more);
        assert_eq!(refused.json()["error"]["param"], param, "{}", refused.body);
    }
    let many: Vec<String> = (0..500).map(|i| format!("text {i}")).collect();
    let refused = server.post("/v1/completions", &json!({"prompt": many, "max_tokens": 1}));
    assert_eq!(
        refused.json()["error"]["param"],
        "prompt",
        "{}",
        refused.body
    );
}

#[test]
fn keys_may_have_a_byte_order_mark() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.txt");
    std::fs::write(&keys, "\u{feff}first\r\nsecond\r\n").unwrap();
    let model = fixture().join("model.1bit");
    let server = Server::start(
        dir.path(),
        &[
            "--model",
            model.to_str().unwrap(),
            "--api-key-file",
            keys.to_str().unwrap(),
        ],
    );
    let asked = server.raw("GET", "/v1/models", "authorization: Bearer first\r\n", b"");
    assert_eq!(asked.status, 200, "{}", asked.body);
}
