//! A session in-process, on a small random model.

mod ahead;
mod demands;
mod explore;
mod tune;

use std::collections::HashMap;

use super::*;
use ternary_common::bytes::MemorySource;
use ternary_core::config::ModelConfig;
use ternary_core::layout::Metadata;
use ternary_core::params;
use ternary_formats::onebit::{Dense, Packing, encode};
use ternary_infer::Sampling;

fn file() -> Vec<u8> {
    file_with(|_| {})
}

/// A small model, `change`d.
pub(crate) fn file_with(change: impl FnOnce(&mut ModelConfig)) -> Vec<u8> {
    let tokenizer =
        Tokenizer::train(std::iter::once("once upon a time there was a cat"), 270).unwrap();
    let mut config = ModelConfig {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: 32,
        num_heads: 4,
        num_kv_heads: Some(2),
        num_layers: 2,
        intermediate_size: 48,
        max_seq_len: 160,
        use_rope: true,
        use_swiglu: true,
        init_std: 0.2,
        embed_init_std: 0.5,
        ..ModelConfig::default()
    };
    change(&mut config);
    let values: HashMap<String, Vec<f32>> = params::all(&config)
        .into_iter()
        .map(|p| (p.name.clone(), p.init(&config, 3)))
        .collect();
    let metadata = Metadata {
        name: "tiny".into(),
        config,
        tokenizer: Some(tokenizer.to_json().unwrap()),
        chat_template: Some(ternary_common::tokenizer::CHAT_TEMPLATE.into()),
        ..Metadata::default()
    };
    encode(metadata, &values, Packing::Base3, Dense::No).unwrap()
}

pub(crate) fn session() -> Session {
    let mut session = Session::with_threads(1);
    let events = events(|emit| {
        pollster::block_on(session.load(
            Rc::new(MemorySource::new("tiny.1bit", file())),
            DeviceChoice::Cpu,
            emit,
        ));
    });
    assert!(
        matches!(events.last(), Some(Event::Loaded { .. })),
        "{events:?}"
    );
    session
}

fn events(f: impl FnOnce(&mut dyn FnMut(Event))) -> Vec<Event> {
    let mut all = Vec::new();
    f(&mut |e| all.push(e));
    all
}

pub(crate) fn ask(session: &mut Session, command: Command) -> (String, Vec<Event>) {
    let events = events(|emit| pollster::block_on(session.handle(command, emit)));
    let text = events
        .iter()
        .filter_map(|e| match e {
            Event::Token { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    (text, events)
}

fn run(session: &mut Session, task: ModelTask) -> Vec<Event> {
    events(|emit| pollster::block_on(session.run_task(task, emit)))
}

fn greedy(tokens: usize) -> Sampling {
    Sampling {
        temperature: 0.0,
        max_tokens: tokens,
        ..Sampling::default()
    }
}

fn stats(events: &[Event]) -> (FinishReason, Stats) {
    match events.last() {
        Some(Event::Finished { reason, stats }) => (*reason, *stats),
        other => panic!("expected Finished, found {other:?}"),
    }
}

#[test]
fn the_cache_changes_speed_and_not_text() {
    let mut s = session();
    let prompt = "once upon a time there was a cat".repeat(3);
    let command = |p: &str| Command::Generate {
        prompt: p.into(),
        sampling: greedy(20),
        form: None,
    };
    let (first, _) = ask(&mut s, command(&prompt));
    let (again, events) = ask(&mut s, command(&prompt));
    assert_eq!(first, again);
    let (_, again_stats) = stats(&events);
    assert_eq!(again_stats.cached_tokens, again_stats.prompt_tokens - 1);
    ask(&mut s, command("something else"));
    assert_eq!(ask(&mut s, command(&prompt)).0, first);
    ask(&mut s, Command::Reset);
    let (text, events) = ask(&mut s, command(&prompt));
    assert_eq!((text, stats(&events).1.cached_tokens), (first, 0));
}

#[test]
fn every_way_to_finish_is_reported() {
    let mut s = session();
    let (_, events) = ask(
        &mut s,
        Command::Generate {
            prompt: "a".into(),
            sampling: greedy(1),
            form: None,
        },
    );
    assert_eq!(stats(&events).0, FinishReason::Length);
    let stop = s.stop_handle();
    let mut seen = Vec::new();
    pollster::block_on(s.handle(
        Command::Generate {
            prompt: "once".into(),
            sampling: greedy(50),
            form: None,
        },
        &mut |e| {
            stop.stop();
            seen.push(e);
        },
    ));
    let (reason, figures) = stats(&seen);
    assert!(
        reason == FinishReason::Stopped || figures.generated_tokens < 4,
        "{seen:?}"
    );
    let (_, events) = ask(
        &mut s,
        Command::Generate {
            prompt: "cat ".repeat(30),
            sampling: greedy(5000),
            form: None,
        },
    );
    let (reason, figures) = stats(&events);
    assert!(matches!(reason, FinishReason::Context | FinishReason::End));
    assert!(figures.context_used <= figures.context_size);
}

#[test]
fn errors_leave_the_model_usable() {
    let mut s = session();
    let text = ask(
        &mut s,
        Command::Generate {
            prompt: "a cat".into(),
            sampling: greedy(8),
            form: None,
        },
    )
    .0;
    let mut broken = file();
    let middle = broken.len() / 2;
    broken[middle] ^= 4;
    let seen = events(|emit| {
        pollster::block_on(s.load(
            Rc::new(MemorySource::new("broken.1bit", broken)),
            DeviceChoice::Cpu,
            emit,
        ));
    });
    let Some(Event::Error { message }) = seen.last() else {
        panic!("{seen:?}")
    };
    assert!(
        message.starts_with("broken.1bit:") && message.contains("damaged"),
        "{message}"
    );
    assert_eq!(
        ask(
            &mut s,
            Command::Generate {
                prompt: "a cat".into(),
                sampling: greedy(8),
                form: None
            }
        )
        .0,
        text
    );

    let bad = Sampling {
        top_p: 0.0,
        ..greedy(5)
    };
    let (_, events) = ask(
        &mut s,
        Command::Generate {
            prompt: "x".into(),
            sampling: bad,
            form: None,
        },
    );
    assert!(matches!(&events[0], Event::Error { message } if message.contains("top_p")));
    let (_, events) = ask(
        &mut s,
        Command::Generate {
            prompt: "cat ".repeat(500),
            sampling: greedy(5),
            form: None,
        },
    );
    assert!(matches!(&events[0], Event::Error { message } if message.contains("160")));
    let (_, events) = ask(
        &mut Session::new(),
        Command::Chat {
            messages: vec![],
            sampling: greedy(5),
            demands: Demands::default(),
        },
    );
    assert!(matches!(&events[0], Event::Error { message } if message.contains("no model")));
}

#[test]
fn a_chat_goes_through_the_template() {
    let mut s = session();
    let messages = vec![Message::new("user", "hello")];
    let (chat, _) = ask(
        &mut s,
        Command::Chat {
            messages,
            sampling: greedy(12),
            demands: Demands::default(),
        },
    );
    let prompt = "<|user|>hello<|end|><|assistant|>".into();
    let (plain, _) = ask(
        &mut s,
        Command::Generate {
            prompt,
            sampling: greedy(12),
            form: None,
        },
    );
    assert_eq!(chat, plain);
}

#[test]
fn a_begun_reply_is_written_on() {
    let mut s = session();
    let messages = vec![
        Message::new("user", "hello"),
        Message::new("assistant", "once upon"),
    ];
    let (written, _) = ask(
        &mut s,
        Command::Chat {
            messages,
            sampling: greedy(12),
            demands: Demands::default(),
        },
    );
    let prompt = "<|user|>hello<|end|><|assistant|>once upon".into();
    let (plain, _) = ask(
        &mut s,
        Command::Generate {
            prompt,
            sampling: greedy(12),
            form: None,
        },
    );
    assert_eq!(written, plain);
}

#[test]
fn what_does_not_fit_is_left_out_from_the_oldest_turn_on() {
    let mut s = session();
    let mut messages = vec![Message::new("system", "a cat")];
    for turn in 0..30 {
        messages.push(Message::new("user", format!("once upon a time {turn}")));
        messages.push(Message::new("assistant", "there was a cat"));
    }
    messages.push(Message::new("user", "once"));
    let chat = |messages: Vec<Message>| Command::Chat {
        messages,
        sampling: greedy(4),
        demands: Demands::default(),
    };
    let (text, events) = ask(&mut s, chat(messages.clone()));
    let (_, figures) = stats(&events);
    let dropped = figures.dropped_messages;
    assert!(dropped > 0 && dropped % 2 == 0, "{figures:?}");
    assert!(figures.prompt_tokens <= figures.context_size / 2);
    // The same as if they had never been said, and the next turn finds the rest in the cache.
    messages.drain(1..=dropped);
    let (same, events) = ask(&mut s, chat(messages.clone()));
    assert_eq!(same, text);
    assert_eq!(stats(&events).1.dropped_messages, 0);
    messages.push(Message::new("assistant", text));
    messages.push(Message::new("user", "a cat"));
    let (_, events) = ask(&mut s, chat(messages));
    let (_, figures) = stats(&events);
    assert_eq!(figures.dropped_messages, 0);
    assert!(figures.cached_tokens > figures.prompt_tokens / 2);

    // A single message that does not fit is an error.
    let (_, events) = ask(&mut s, chat(vec![Message::new("user", "cat ".repeat(500))]));
    assert!(matches!(&events[0], Event::Error { message } if message.contains("160")));
}
