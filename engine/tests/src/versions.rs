//! Files written by earlier versions stay readable: these fixtures are kept for ever, and a new
//! version adds its own.
//!
//! `v1.1bit` (all four modes, base-3 packing) was made by `onebit train` and
//! `onebit export --pack-mode base3` on a text of four repeated sentences, `v1.tokens` by
//! `onebit tokenize --seq-len 64`.

use std::path::PathBuf;

use ternary::data::TokenData;
use ternary::format::FileSource;
use ternary::infer::Sampling;
use ternary::session::{Command, DeviceChoice, Event, Session};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

#[test]
fn a_model_of_version_1_answers_as_it_did() {
    let source = std::rc::Rc::new(FileSource::open(&fixture("v1.1bit")).unwrap());
    let mut session = Session::with_threads(1);
    let mut text = String::new();
    let mut failure = None;
    let mut emit = |event| match event {
        Event::Token { text: piece } => text += &piece,
        Event::Error { message } => failure = Some(message),
        _ => {}
    };
    pollster::block_on(session.load(source, DeviceChoice::Cpu, &mut emit));
    let sampling = Sampling {
        temperature: 0.0,
        repetition_penalty: 1.0,
        max_tokens: 24,
        ..Sampling::default()
    };
    let prompt = "The cat".to_owned();
    pollster::block_on(session.handle(
        Command::Generate {
            prompt,
            sampling,
            form: None,
        },
        &mut emit,
    ));
    assert_eq!(failure, None);
    assert_eq!(
        text,
        " and the dog. The sun is warm and bright. The sun is warm and bright. The sun is warm and bright"
    );
}

#[test]
fn tokens_of_version_1_are_read() {
    let data = TokenData::open(&[fixture("v1.tokens")]).unwrap();
    data.verify().unwrap();
    assert_eq!((data.len(), data.header().seq_len), (1031, 64));
}
