use super::super::super::testing::{self, Setup, finished, token};
use super::*;
use ternary::session::FinishReason;

#[test]
fn prompts_come_in_four_forms() {
    let ids = |ids: &[u32]| Prompt::Ids(ids.to_vec());
    let text = |text: &str| Prompt::Text(text.into());
    for (value, expected) in [
        (json!("a"), vec![text("a")]),
        (json!(["a", "b"]), vec![text("a"), text("b")]),
        (json!([1, 2]), vec![ids(&[1, 2])]),
        (json!([[1], [2, 3]]), vec![ids(&[1]), ids(&[2, 3])]),
    ] {
        assert_eq!(Prompt::list(value, "prompt").unwrap(), expected);
    }
    for (value, name) in [
        (json!(1), "prompt"),
        (json!([]), "prompt"),
        (json!([1, "a"]), "prompt"),
        (json!([1, -2]), "prompt"),
        (json!(["a", {}]), "prompt[1]"),
        (json!([[1], ["a"]]), "prompt[1]"),
    ] {
        let refusal = Prompt::list(value, "prompt").unwrap_err();
        assert_eq!(refusal.param.as_deref(), Some(name));
    }
    let ready = testing::ready(&Setup::default());
    let encoded = |p: Prompt| p.encoded(&ready.tokenizer, "prompt");
    assert_eq!(encoded(text("")).unwrap().len(), 1);
    let refusal = encoded(ids(&[999_999])).unwrap_err();
    assert!(refusal.message.contains("999999"), "{}", refusal.message);
}

#[test]
fn a_request_is_made_for_every_prompt_and_reply() {
    let ready = testing::ready(&Setup::default());
    let ask = Ask::read(
        json!({"prompt": ["a", "bc"], "n": 2, "echo": true, "logprobs": 3, "max_tokens": 0}),
    )
    .unwrap();
    let all = ask.requests(&ready).unwrap();
    let lengths: Vec<usize> = all.iter().map(|(r, _)| r.prompt.len()).collect();
    assert_eq!(lengths, [1, 1, 2, 2]);
    let (request, echo) = &all[2];
    assert_eq!(
        (request.logprobs, request.prompt_logprobs),
        (Some(3), Some(3))
    );
    assert!(request.goes_on && !request.in_turns && request.sampling.max_tokens == 0);
    assert_eq!(echo.text, "bc");
    let plain = Ask::read(json!({"prompt": "a"})).unwrap();
    let (request, _) = &plain.requests(&ready).unwrap()[0];
    assert_eq!(
        (request.sampling.max_tokens, request.prompt_logprobs),
        (16, None)
    );
    for (body, name) in [
        (json!({}), "prompt"),
        (json!({"prompt": "a", "suffix": "b"}), "suffix"),
        (json!({"prompt": "a", "best_of": 2}), "best_of"),
        (json!({"prompt": "a", "max_tokens": 0}), "max_tokens"),
        (json!({"prompt": "a", "logprobs": 21}), "logprobs"),
        (json!({"prompt": "a", "logprobs": true}), "logprobs"),
        (json!({"prompt": "a", "messages": []}), "messages"),
    ] {
        let refusal = Ask::read(body).err().unwrap();
        assert_eq!(refusal.param.as_deref(), Some(name));
    }
}

#[test]
fn a_text_may_have_to_have_a_form() {
    let ready = testing::ready(&Setup::default());
    let ask = |format: Value| Ask::read(json!({"prompt": "a", "response_format": format}));
    let constrained = |format: Value| {
        let requests = ask(format).unwrap().requests(&ready);
        requests.map(|all| all[0].0.constraint.is_some())
    };
    assert!(constrained(json!({"type": "regex", "regex": "yes|no"})).unwrap());
    assert!(!constrained(json!({"type": "text"})).unwrap());
    let refusal = constrained(json!({"type": "regex", "regex": "(a"})).unwrap_err();
    assert_eq!(refusal.param.as_deref(), Some("response_format"));
    let refusal = ask(json!({"type": "yaml"})).err().unwrap();
    assert_eq!(refusal.param.as_deref(), Some("response_format.type"));
}

#[test]
fn texts_that_are_too_long_are_told_with_their_lengths() {
    let ready = testing::ready(&Setup {
        context: 4,
        ..Setup::default()
    });
    let refused = |body: Value| {
        let refusal = Ask::read(body).unwrap().requests(&ready).err().unwrap();
        assert_eq!(refusal.code, Some("context_length_exceeded"));
        (refusal.param.unwrap(), refusal.message)
    };
    let scored = json!({"prompt": ["a", "abcdefg"], "echo": true, "max_tokens": 0, "logprobs": 0});
    let (param, message) = refused(scored);
    assert_eq!(param, "prompt[1]");
    assert!(
        message.contains("takes 7 tokens; the context is 4 tokens. Send it in pieces"),
        "{message}"
    );
    let (param, message) = refused(json!({"prompt": "abcd"}));
    assert_eq!(param, "prompt");
    assert!(
        message.contains("takes 4 tokens")
            && message.contains("of which the reply needs at least one. Shorten it"),
        "{message}"
    );
}

#[test]
fn an_echo_has_the_probabilities_of_all_tokens_but_the_first() {
    let echo = Echo {
        text: "ab".into(),
        ids: vec![0, 1],
    };
    let score = |id, logprob| TokenLogprob {
        id,
        logprob,
        top: vec![(id, logprob), (id + 1, -9.0)],
    };
    let mut choice = Choice::new(Some(echo), Some(2));
    let prompt = Update::Prompt {
        logprobs: vec![score(1, -0.5)],
    };
    let (piece, _) = choice.take(prompt);
    let (text, mut tokens) = piece.unwrap();
    assert_eq!(text, "ab");
    let (piece, _) = choice.take(token("c", 2));
    tokens.extend(piece.unwrap().1);
    let (piece, end) = choice.take(finished("", FinishReason::Length, None));
    assert!(piece.is_none());
    assert_eq!(end.unwrap().finish_reason(), "length");
    let names = |id: u32| vec![b'a' + id as u8];
    let v = choice.logprobs(&tokens, &names);
    assert_eq!(v["tokens"], json!(["a", "b", "c"]));
    assert_eq!(v["text_offset"], json!([0, 1, 2]));
    assert_eq!(v["token_logprobs"][0], Value::Null);
    assert_eq!(v["token_logprobs"][1], -0.5);
    assert_eq!(v["top_logprobs"][0], Value::Null);
    assert_eq!(v["top_logprobs"][1]["b"], -0.5);
    // Characters of several tokens: offsets are those of the text.
    let bytes = "aé😀b".as_bytes();
    let names = |id: u32| vec![bytes[id as usize]];
    let tokens: Vec<Scored> = (0..8).map(|id| (id, None)).collect();
    let mut choice = Choice::new(None, Some(0));
    let first = choice.logprobs(&tokens[..2], &names);
    let rest = choice.logprobs(&tokens[2..], &names);
    assert_eq!(first["text_offset"], json!([0, 1]));
    assert_eq!(rest["text_offset"], json!([1, 2, 2, 2, 2, 3]));
    assert_eq!(
        rest["tokens"],
        json!([
            "bytes:\\xa9",
            "bytes:\\xf0",
            "bytes:\\x9f",
            "bytes:\\x98",
            "bytes:\\x80",
            "b"
        ])
    );
    // Two parts of characters are two of the likeliest tokens.
    let halves = TokenLogprob {
        id: 4,
        logprob: -1.5,
        top: vec![(3, -0.5), (4, -1.5)],
    };
    let top = Choice::new(None, Some(2)).logprobs(&[(4, Some(halves))], &names);
    assert_eq!(
        top["top_logprobs"][0],
        json!({"bytes:\\xf0": -0.5, "bytes:\\x9f": -1.5})
    );
    // Without the wish there is nothing to tell.
    assert_eq!(Choice::new(None, None).logprobs(&[], &names), Value::Null);
}

#[test]
fn prompts_count_once() {
    let shape = Shape {
        id: "cmpl-1".into(),
        created: 1,
        model: "m".into(),
        n: 2,
        usage: true,
    };
    let mut total = Usage::default();
    for index in 0..4 {
        let usage = Usage {
            prompt_tokens: 10,
            generated_tokens: 1,
            ..Usage::default()
        };
        shape.add(&mut total, index, usage);
    }
    assert_eq!((total.prompt_tokens, total.generated_tokens), (20, 4));
    let event = shape.event(1, "x", Value::Null, Some("stop"));
    assert_eq!(
        event["choices"][0],
        json!({"text": "x", "index": 1, "logprobs": null, "finish_reason": "stop"})
    );
    assert_eq!(
        (&event["object"], &event["usage"]),
        (&json!("text_completion"), &Value::Null)
    );
}
