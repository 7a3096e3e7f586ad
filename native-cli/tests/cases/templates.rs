//! Chat templates of others.

use crate::support::*;

/// A model that answers "I do hear you", with this template, imported; what the import said.
fn with(place: &Place, template: &str) -> Output {
    reply(&["I do", " hear", " you"])
        .template(template)
        .write_hf(&place.at("model"));
    place.import("model", &[]).ok()
}

const ANSWER: &str = "I do hear you";

#[test]
fn tags_of_training_are_ignored() {
    let place = Place::new();
    let out = with(
        &place,
        "{% for m in messages %}{% if m['role'] == 'assistant' %}{%- generation -%}{{ m['content'] }}<|end|>{%- endgeneration -%}\
         {% else %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}<|assistant|>{% endif %}",
    );
    assert!(!out.stderr.contains("warning"), "{}", out.stderr);
    let out = place.chat("Hi\nAgain\n/exit\n", &[]).ok();
    assert_eq!(out.stdout.matches(ANSWER).count(), 2, "{}", out.stdout);
}

#[test]
fn a_template_that_cannot_be_used_costs_the_chat_only() {
    let place = Place::new();
    for template in [
        "{% frobnicate %}",
        "{% for %}",
        "{{ nothing.of.this }}",
        "{{ messages[0].content | frobnicate }}",
    ] {
        let out = with(&place, template);
        assert!(
            out.stderr.contains("cannot chat"),
            "{template}: {}",
            out.stderr
        );
        assert_eq!(place.generate("Hi!"), ANSWER, "{template}");
        put(&place.at("t.txt"), "Hi! Hi! Hi!");
        place
            .run(&[
                "eval", "--model", "m.1bit", "--data", "t.txt", "--device", "cpu",
            ])
            .ok();
        place.run(&["inspect", "m.1bit"]).ok();
        place.chat("Hi\n/exit\n", &[]).fails(&["chat template"]);
    }
}

#[test]
fn todays_date_is_known() {
    let place = Place::new();
    let out = with(
        &place,
        &format!(
            "{{%- set today = strftime_now(\"%Y-%m-%d\") %}}<|system|>Today is {{{{ today }}}}.<|end|>{CHATML}"
        ),
    );
    assert!(!out.stderr.contains("warning"), "{}", out.stderr);
    assert!(place.chat("Hi\n/exit\n", &[]).ok().stdout.contains(ANSWER));
}

#[test]
fn messages_are_given_as_parts_where_texts_do_not_come_out() {
    let place = Place::new();
    // The answer follows on the message's `!`; without the message the prompt is empty, and
    // something else follows on that.
    let pieces = ["I do", " hear", " you"];
    let tokenizer = Tokenizer::byte_level(&[&pieces[..], &["Nothing"]].concat());
    let (nothing, end) = (tokenizer.id("Nothing"), tokenizer.id("<|end|>"));
    let chain = Chain::walk(&tokenizer, &["!"], &pieces, "<|end|>")
        .then(tokenizer.id("<|endoftext|>"), nothing)
        .then(nothing, end);
    let template = "{% for m in messages %}{% for part in m['content'] %}{% if part['type'] == 'text' %}\
        {{ part['text'] }}{% endif %}{% endfor %}{% endfor %}";
    Model::new(tokenizer, Llama::default(), chain)
        .template(template)
        .write_hf(&place.at("model"));
    let out = place.import("model", &[]).ok();
    assert!(!out.stderr.contains("warning"), "{}", out.stderr);
    let out = place.chat("HELLO!\n/exit\n", &[]).ok();
    assert!(out.stdout.contains(ANSWER), "{}", out.stdout);
}

#[test]
fn a_system_message_goes_where_the_template_takes_it() {
    let place = Place::new();
    with(
        &place,
        "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
         {{ raise_exception('user and assistant must take turns') }}{% endif %}{% if message['role'] == 'user' %}\
         {{ '<|user|>' + message['content'] + '<|end|><|assistant|>' }}{% elif message['role'] == 'assistant' %}\
         {{ message['content'] + '<|end|>' }}{% else %}{{ raise_exception('this template knows no such role') }}{% endif %}{% endfor %}",
    );
    let out = place
        .chat("Hi\nAgain\n/exit\n", &["--system", "Be kind."])
        .ok();
    assert_eq!(
        out.stdout.matches(ANSWER).count(),
        2,
        "{}{}",
        out.stdout,
        out.stderr
    );
    // Said once.
    assert_eq!(
        out.stderr.matches("takes no system message").count(),
        1,
        "{}",
        out.stderr
    );
}

#[test]
fn a_template_that_needs_a_system_message_says_so() {
    let place = Place::new();
    let out = with(
        &place,
        "{% if messages[0]['role'] != 'system' %}{{ raise_exception('who am I?') }}{% endif %}{% for m in messages %}\
         {{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}<|assistant|>",
    );
    assert!(out.stderr.contains("--system"), "{}", out.stderr);
    assert!(!out.stderr.contains("cannot chat"), "{}", out.stderr);
    place
        .chat("Hi\n/exit\n", &[])
        .fails(&["needs a system message", "--system", "who am I?"]);
    let out = place.chat("Hi\n/exit\n", &["--system", "Be kind."]).ok();
    assert!(out.stdout.contains(ANSWER), "{}", out.stdout);
}

#[test]
fn an_empty_template_is_none() {
    let place = Place::new();
    for template in ["", " \n\t\n"] {
        with(&place, CHATML);
        put(&place.at("model/chat_template.jinja"), template);
        let out = place.import("model", &[]).ok();
        assert!(
            out.stderr.contains("chat template is empty"),
            "{template:?}: {}",
            out.stderr
        );
        assert_eq!(place.generate("Hi!"), ANSWER, "{template:?}");
        place
            .chat("Hi\n/exit\n", &[])
            .fails(&["has no chat template"]);
    }
}

#[test]
fn a_rendered_conversation_is_shown_with_its_tokens() {
    let place = Place::new();
    with(&place, CHATML);
    put(
        &place.at("m.json"),
        r#"[{"role": "user", "content": "Hi <|end|>"}]"#,
    );
    let shown = |more: &[&str]| place.run(&[&["template", "--model", "m.1bit"], more].concat());
    let out = shown(&["--messages", "m.json", "--json"]).ok().json();
    let text = "<|user|>Hi <|end|><|end|><|assistant|>";
    assert_eq!(out["text"], text);
    let contents: Vec<&str> = (out["parts"].as_array().unwrap().iter())
        .filter(|part| part["content"] == true)
        .filter_map(|part| part["text"].as_str())
        .collect();
    assert_eq!(contents, ["Hi <|end|>"]);
    // What is typed is letters: the mark at the turn's end is one token, the typed one is not.
    let marks = |out: &serde_json::Value| {
        let tokens = out["tokens"].as_array().unwrap().iter();
        tokens.filter(|t| t["token"] == "<|end|>").count()
    };
    assert_eq!(marks(&out), 1);
    // The same by flags, as an object and from standard input, and a finished conversation.
    let by_flags = shown(&["--system", "Be brief.", "--user", "Hi", "--json"]).ok();
    let by_flags = by_flags.json()["text"].to_string();
    assert!(by_flags.contains("Be brief."), "{by_flags}");
    let finished = shown(&["--user", "Hi", "--finished"]).ok().stdout;
    assert!(
        finished.contains("<|user|>Hi") && !finished.contains("assistant"),
        "{finished}"
    );
    shown(&[]).fails(&["--messages"]);
    put(&place.at("m.json"), r#"{"text": "no conversation"}"#);
    shown(&["--messages", "m.json"]).fails(&["m.json", "messages"]);
    put(&place.at("m.json"), "[{");
    shown(&["--messages", "m.json"]).fails(&["m.json"]);
}

#[test]
fn calls_and_functions_of_a_conversation_are_shown_as_a_chat_tells_them() {
    let place = Place::new();
    let talk = r#"{"messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"at\": \"Bern\"}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"}],
        "tools": [{"type": "function", "function": {"name": "look", "description": "Looks outside.", "parameters": {"type": "object"}}}]}"#;
    put(&place.at("m.json"), talk);
    let shown = |more: &[&str]| {
        let fixed = [
            "template",
            "--model",
            "m.1bit",
            "--messages",
            "m.json",
            "--json",
        ];
        place.run(&[&fixed, more].concat())
    };
    let said = ["Looks outside.", "Weather?", "look", "Bern", "sunny"];
    // One that knows no tools, where they are explained; and one that writes them itself.
    let knows = "{% for t in tools %}[{{ t.function.name }}: {{ t.function.description }}]{% endfor %}\
        {% for m in messages %}<|{{ m.role }}|>{{ m.content }}\
        {% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}<|end|>{% endfor %}\
        {% if add_generation_prompt %}<|assistant|>{% endif %}";
    for template in [CHATML, knows] {
        with(&place, template);
        let text = shown(&[]).ok().json()["text"].to_string();
        for words in said {
            assert!(text.contains(words), "{words} in {text}");
        }
    }
    put(
        &place.at("m.json"),
        talk.replace("\"look\", \"desc", "\"\", \"desc"),
    );
    shown(&[]).fails(&["m.json", "tools are not all functions", "expected a list"]);
}

#[test]
fn a_model_without_a_template_is_told_of() {
    let place = Place::new();
    reply(&["I do", " hear"])
        .template("")
        .write_hf(&place.at("model"));
    place.import("model", &[]).ok();
    let asked = ["template", "--model", "m.1bit", "--user", "Hi"];
    place
        .run(&asked)
        .fails(&["no chat template", "--chat-template"]);
    put(&place.at("t.jinja"), "{{ messages[0].content }}!");
    let given = [&asked[..], &["--chat-template", "t.jinja"]].concat();
    assert!(place.run(&given).ok().stdout.starts_with("Hi!"));
}
