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
    // Without the message there is no `!`, so no answer: the parts' texts must arrive.
    let chain_end = "{% for m in messages %}{% for part in m['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}";
    let out = with(&place, chain_end);
    assert!(!out.stderr.contains("warning"), "{}", out.stderr);
    assert!(
        place
            .chat("HELLO!\n/exit\n", &[])
            .ok()
            .stdout
            .contains(ANSWER)
    );
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
