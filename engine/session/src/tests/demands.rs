//! Tools and forms, on a model that knows neither.

use std::cell::Cell;

use serde_json::{Value, json};
use ternary_common::chat::{Tool, ToolCall, with_calls, with_result};
use ternary_infer::{Grammars, TokenSet};

use super::*;

fn weather() -> Tool {
    Tool {
        name: "weather".into(),
        description: Some("The weather of a city.".into()),
        strict: false,
        parameters: json!({
            "type": "object",
            "properties": {"city": {"enum": ["Bonn", "Rome"]}},
            "required": ["city"],
            "additionalProperties": false,
        }),
    }
}

#[test]
fn calls_of_strict_functions_are_held_to_their_schemas() {
    let mut demands = Demands {
        tools: vec![weather(), weather()],
        ..Demands::default()
    };
    assert_eq!(demands.form(), None);
    demands.tools[0].strict = true;
    demands.tools[1].name = "other".into();
    let Some(Form::Calls(calls)) = demands.form() else {
        panic!("{:?}", demands.form());
    };
    let schemas: Vec<Value> = calls
        .functions
        .iter()
        .map(|function| serde_json::from_str(&function.parameters).unwrap())
        .collect();
    assert_eq!(schemas, [weather().parameters, json!({"type": "object"})]);
    assert!(calls.marks.iter().any(|mark| mark.begin == "<tool_call>"));
    // The model is free to call none.
    let mut s = roomy();
    let (_, events) = ask(
        &mut s,
        chat(vec![Message::new("user", "hello")], demands.clone()),
    );
    assert!(stats(&events).1.generated_tokens > 0, "{events:?}");
    // What is asked for otherwise goes before.
    demands.choice = ToolChoice::Never;
    assert_eq!(demands.form(), None);
    demands.choice = ToolChoice::Always(None);
    assert!(matches!(demands.form(), Some(Form::Call(_))));
    // A call that must come is no reply of another form.
    demands.form = Some(Form::JsonObject);
    assert!(matches!(demands.form(), Some(Form::Call(_))));
    demands.choice = ToolChoice::Never;
    assert_eq!(demands.form(), Some(Form::JsonObject));
}

fn roomy() -> Session {
    let mut session = Session::with_threads(1);
    let bytes = file_with(|config| config.max_seq_len = 2048);
    let source = Rc::new(MemorySource::new("tiny.1bit", bytes));
    let mut well = |event| assert!(!matches!(event, Event::Error { .. }), "{event:?}");
    pollster::block_on(session.load(source, DeviceChoice::Cpu, &mut well));
    session
}

fn chat(messages: Vec<Message>, demands: Demands) -> Command {
    Command::Chat {
        messages,
        sampling: greedy(200),
        demands,
    }
}

fn calls(events: &[Event]) -> Vec<ToolCall> {
    let calls = events.iter().filter_map(|event| match event {
        Event::ToolCalls { calls } => Some(calls.clone()),
        _ => None,
    });
    calls.flatten().collect()
}

#[test]
fn a_call_that_is_demanded_is_made_and_its_text_is_not_shown() {
    let mut s = roomy();
    let demands = Demands {
        tools: vec![weather()],
        choice: ToolChoice::Always(Some("weather".into())),
        ..Demands::default()
    };
    let mut talk = vec![Message::new("user", "Is it raining?")];
    for number in 1..3 {
        let (text, events) = ask(&mut s, chat(talk.clone(), demands.clone()));
        assert_eq!(text, "");
        let found = calls(&events);
        assert_eq!(found.len(), 1, "{events:?}");
        // Calls of a conversation have names of their own.
        assert_eq!(found[0].id, format!("call0000{number}"));
        assert_eq!(found[0].name, "weather");
        let arguments: Value = serde_json::from_str(&found[0].arguments).unwrap();
        assert!(arguments == json!({"city": "Bonn"}) || arguments == json!({"city": "Rome"}));
        assert_eq!(stats(&events).0, FinishReason::End);
        talk.push(with_calls("", &found));
        talk.push(with_result(&found[0].id, Some("weather"), "sunny"));
    }
    // The model that is not told of tools reads another prompt, and calls none.
    let silent = Demands {
        choice: ToolChoice::Never,
        ..demands.clone()
    };
    let (_, told) = ask(&mut s, chat(talk[..1].to_vec(), demands));
    let (_, untold) = ask(&mut s, chat(talk[..1].to_vec(), silent));
    assert!(calls(&untold).is_empty());
    assert!(stats(&told).1.prompt_tokens > stats(&untold).1.prompt_tokens + 100);
}

#[test]
fn a_form_holds_in_a_chat_and_a_wrong_one_says_why() {
    let mut s = roomy();
    let of = |form| Demands {
        form: Some(form),
        ..Demands::default()
    };
    let talk = vec![Message::new("user", "hello")];
    let (text, events) = ask(
        &mut s,
        chat(talk.clone(), of(Form::Regex("(ab){3}".into()))),
    );
    assert_eq!(
        (text.as_str(), stats(&events).0),
        ("ababab", FinishReason::End)
    );
    let (_, events) = ask(&mut s, chat(talk, of(Form::Regex("(".into()))));
    assert!(
        matches!(&events[0], Event::Error { message } if message.contains("regular expression")),
        "{events:?}"
    );
}

/// Compiles as the built-in does, and counts.
struct Counting(Rc<Cell<usize>>);

struct Held(Grammars);

impl Compiler for Held {
    fn constraint(&self, form: &Form) -> ternary_grammar::Result<Box<dyn Constraint>> {
        let Form::JsonObject = form else {
            return self.0.constraint(form);
        };
        Ok(Box::new(Nothing))
    }
}

/// No token at all may come.
struct Nothing;

impl Constraint for Nothing {
    fn allowed(&mut self) -> ternary_grammar::Result<TokenSet> {
        Ok(TokenSet::none(0))
    }

    fn accept(&mut self, _: u32) -> ternary_grammar::Result<()> {
        Ok(())
    }

    fn is_complete(&self) -> bool {
        false
    }
}

impl CompilerMaker for Counting {
    fn compiler(&self, vocabulary: &Vocabulary) -> ternary_grammar::Result<Box<dyn Compiler>> {
        self.0.set(self.0.get() + 1);
        Ok(Box::new(Held(Grammars::new(vocabulary)?)))
    }
}

/// As a page's worker does it.
#[test]
fn another_program_may_compile_forms() {
    let mut s = roomy();
    let made = Rc::new(Cell::new(0));
    s.set_compilers(Box::new(Counting(made.clone())));
    let of = |form| Command::Generate {
        prompt: "hello".into(),
        sampling: greedy(50),
        form: Some(form),
    };
    assert!(of(Form::JsonObject).has_form());
    for _ in 0..2 {
        let (text, _) = ask(&mut s, of(Form::Regex("[0-9]{4}".into())));
        assert_eq!(text.len(), 4);
    }
    // It is made once for a model, and what it says holds.
    assert_eq!(made.get(), 1);
    let (text, events) = ask(&mut s, of(Form::JsonObject));
    assert_eq!((text.as_str(), stats(&events).0), ("", FinishReason::End));
}
