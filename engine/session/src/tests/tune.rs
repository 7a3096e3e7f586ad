use super::*;
use ternary_common::chat::Tool;
use ternary_common::data::Conversation;
use ternary_core::config::{LoraConfig, QuantMode};
use ternary_formats::adapter::Adapter;

fn settings(lora: bool) -> TuneSettings {
    let lines = (0..60).map(|i| format!("the cat {i} upon a time was once there.\n"));
    TuneSettings {
        text: lines.collect(),
        lora: lora.then(|| LoraConfig {
            rank: 4,
            ..LoraConfig::default()
        }),
        steps: 20,
        learning_rate: Some(5e-3),
        batch_size: 2,
        seq_len: Some(24),
        ..TuneSettings::default()
    }
}

fn points(events: &[Event]) -> Vec<TunePoint> {
    let of = |e: &Event| match e {
        Event::TunePoint { point } => Some(TunePoint {
            tokens_per_second: 0.0,
            ..*point
        }),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

fn validations(events: &[Event]) -> Vec<f64> {
    points(events).iter().filter_map(|p| p.validation).collect()
}

fn tune(s: &mut Session, settings: TuneSettings) -> Vec<Event> {
    let events = run(s, ModelTask::Tune { settings });
    let end = events.last();
    assert!(
        matches!(
            end,
            Some(Event::TuneStopped {
                step: 20,
                done: true
            })
        ),
        "{end:?}"
    );
    events
}

fn file(s: &mut Session, keep: Keep) -> Vec<u8> {
    match run(s, ModelTask::ExportTune { keep }).pop() {
        Some(Event::File { bytes, .. }) => bytes,
        other => panic!("{other:?}"),
    }
}

fn text(s: &mut Session) -> String {
    let command = Command::Generate {
        prompt: "the cat".into(),
        sampling: greedy(20),
        form: None,
    };
    ask(s, command).0
}

fn load(source: &[u8], adapter: Option<Adapter>) -> Session {
    let mut s = Session::with_threads(1);
    let source = Rc::new(MemorySource::new("kept.1bit", source.to_vec()));
    let events = events(|emit| {
        pollster::block_on(s.load_adapted(
            source,
            adapter.map(|adapter| Beside {
                name: "kept".to_owned(),
                adapter: Rc::new(adapter),
            }),
            DeviceChoice::Cpu,
            emit,
        ));
    });
    assert!(
        matches!(events.last(), Some(Event::Loaded { .. })),
        "{events:?}"
    );
    s
}

#[test]
fn a_model_learns_a_text_and_is_kept() {
    let mut s = session();
    let before = text(&mut s);
    let quick = TuneSettings {
        learning_rate: Some(3e-2),
        ..settings(false)
    };
    let events = tune(&mut s, quick);
    let losses = validations(&events);
    assert!(
        losses.len() > 5 && losses[losses.len() - 1] < losses[0] - 0.5,
        "{losses:?}"
    );
    let prompts = |step: usize| -> Vec<String> {
        let all = events.iter().filter_map(|e| match e {
            Event::TuneSample { sample } if sample.step == step => Some(sample.prompt.clone()),
            _ => None,
        });
        all.collect()
    };
    // The same before and after, the first of them meanwhile.
    assert_eq!(prompts(0)[0], "the cat 0 upon");
    assert_eq!((prompts(0).len(), prompts(20)), (3, prompts(0)));
    assert_eq!(prompts(10), prompts(0)[..1]);
    let changed = events.iter().rev().find_map(|e| match e {
        Event::TuneChanges { changes, .. } => Some(changes.iter().filter_map(|c| c.changed).sum()),
        _ => None,
    });
    assert!(changed.unwrap_or(0usize) > 10, "{changed:?}");
    // Until it is kept the old model answers.
    assert_eq!(text(&mut s), before);
    let bytes = file(&mut s, Keep::Model);
    let seen = run(&mut s, ModelTask::KeepTune);
    let Some(Event::Loaded { model }) = seen.last() else {
        panic!("{seen:?}")
    };
    assert_eq!(model.name, "tiny, fine-tuned");
    let tuned = text(&mut s);
    assert_ne!(tuned, before);
    assert_eq!(text(&mut load(&bytes, None)), tuned);
    let seen = run(&mut s, ModelTask::ContinueTune);
    assert!(matches!(&seen[..], [Event::Error { message }] if message.contains("no fine-tuning")));
}

#[test]
fn adapters_are_kept_beside_the_model_and_in_a_file() {
    let mut s = session();
    let before = text(&mut s);
    let losses = validations(&tune(&mut s, settings(true)));
    assert!(losses[losses.len() - 1] < losses[0] - 0.3, "{losses:?}");
    let bytes = file(&mut s, Keep::Adapter);
    let merged = file(&mut s, Keep::Model);
    run(&mut s, ModelTask::KeepTune);
    let tuned = text(&mut s);
    assert_ne!(tuned, before);
    let adapter = Adapter::parse_file(&bytes).unwrap();
    assert_eq!(text(&mut load(&super::file(), Some(adapter))), tuned);
    load(&merged, None);
    // What would leave the adapter out is refused.
    let task = ModelTask::Tune {
        settings: settings(false),
    };
    let seen = run(&mut s, task);
    assert!(
        matches!(&seen[..], [Event::Error { message }] if message.contains("adapter beside it"))
    );
}

/// Of the matrix that is looked at it is told how it was and how it is, while the model learns and
/// when it stands still.
/// Requests take turns with adapters and without; each answers as a model does that was loaded so,
/// and nothing is read again.
#[test]
fn adapters_change_from_request_to_request() {
    let mut s = session();
    let base = super::file();
    let plain = text(&mut s);
    let adapters: Vec<Adapter> = [1, 2]
        .map(|seed| {
            let settings = TuneSettings {
                learning_rate: Some(0.1),
                seed,
                ..settings(true)
            };
            tune(&mut s, settings);
            Adapter::parse_file(&file(&mut s, Keep::Adapter)).expect("an adapter")
        })
        .into();
    let expected: Vec<String> = adapters
        .iter()
        .map(|adapter| text(&mut load(&base, Some(adapter.clone()))))
        .collect();
    assert!(expected[0] != expected[1] && !expected.contains(&plain));

    let mut s = load(&base, None);
    for (name, adapter) in ["one", "two"].into_iter().zip(&adapters) {
        let beside = Beside {
            name: name.to_owned(),
            adapter: Rc::new(adapter.clone()),
        };
        pollster::block_on(s.add_adapter(beside.clone())).unwrap();
        let again = pollster::block_on(s.add_adapter(beside)).unwrap_err();
        assert!(again.to_string().contains("already"), "{again}");
    }
    let adapt = |s: &mut Session, name: Option<&str>| {
        let name = name.map(str::to_owned);
        events(|emit| pollster::block_on(s.handle(Command::Adapt { name }, emit)))
    };
    let turns = [
        (None, &plain),
        (Some("two"), &expected[1]),
        (Some("one"), &expected[0]),
        (Some("one"), &expected[0]),
        (None, &plain),
        (Some("two"), &expected[1]),
    ];
    for (name, expected) in turns {
        match &adapt(&mut s, name)[..] {
            [Event::Loaded { model }] => {
                assert_eq!(model.adapters, ["one", "two"]);
                assert_eq!(model.adapter.as_deref(), name);
            }
            events => panic!("{events:?}"),
        }
        assert_eq!(&text(&mut s), expected, "with {name:?}");
    }
    // A name that is not there changes nothing.
    match &adapt(&mut s, Some("three"))[..] {
        [Event::Error { message }] => assert!(message.contains("one, two"), "{message}"),
        events => panic!("{events:?}"),
    }
    assert_eq!(text(&mut s), expected[1]);
    // They go where the model goes.
    let device = DeviceChoice::Cpu;
    ask(&mut s, Command::Move { device });
    assert_eq!(text(&mut s), expected[1]);
    adapt(&mut s, Some("one"));
    assert_eq!(text(&mut s), expected[0]);
}

#[test]
fn the_watched_matrix_is_told_as_it_turns() {
    let mut s = session();
    let name = "model.layers.0.mlp.up_proj.weight";
    s.watch_handle().watch(Some(name.to_owned()));
    let quick = TuneSettings {
        learning_rate: Some(3e-2),
        ..settings(false)
    };
    let told = |events: &[Event]| {
        let codes = |tuned: bool| {
            let of = |e: &Event| match e {
                Event::Weights { weights } if !tuned => Some(weights.codes.clone()),
                Event::TuneWeights { weights } if tuned => {
                    assert_eq!(
                        (weights.name.as_str(), weights.mode),
                        (name, QuantMode::Ternary)
                    );
                    Some(weights.codes.clone())
                }
                _ => None,
            };
            events.iter().filter_map(of).collect::<Vec<_>>()
        };
        (codes(false), codes(true))
    };
    let turned = |before: &[u8], now: &[u8]| before.iter().zip(now).filter(|(a, b)| a != b).count();
    let events = tune(&mut s, quick);
    let (before, now) = told(&events);
    // Once how it was; how it is at the end at least.
    assert_eq!(before.len(), 1);
    let last = now.last().expect("none told");
    let changed = events.iter().rev().find_map(|e| match e {
        Event::TuneChanges { changes, .. } => changes.iter().find(|c| c.name == name)?.changed,
        _ => None,
    });
    assert!(changed.is_some_and(|changed| changed > 0));
    assert_eq!(Some(turned(&before[0], last)), changed);
    let preview = || ModelTask::Preview {
        name: name.to_owned(),
        mode: QuantMode::Ternary,
    };
    let (loaded, tuned) = told(&run(&mut s, preview()));
    assert_eq!(
        (&loaded[..], &tuned[..]),
        (&before[..], &now[now.len() - 1..])
    );
    run(&mut s, ModelTask::DiscardTune);
    let (loaded, tuned) = told(&run(&mut s, preview()));
    assert_eq!((loaded, tuned.len()), (before, 0));
}

/// A weight turns from the first tens of steps on at the default rate: some of the latents are near
/// to a threshold.
#[test]
fn codes_turn_early() {
    let mut s = session();
    let usual = TuneSettings {
        learning_rate: None,
        ..settings(false)
    };
    let events = tune(&mut s, usual);
    let first = events.iter().find_map(|e| match e {
        Event::TuneChanges { step, changes } if *step > 0 => {
            Some(changes.iter().filter_map(|c| c.changed).sum::<usize>())
        }
        _ => None,
    });
    assert!(first.unwrap_or(0) > 0, "{first:?}");
}

/// Lines that begin alike give other prompts where there are any.
#[test]
fn prompts_differ() {
    let mut s = session();
    let line = |i: usize| match i % 7 {
        0 => format!("upon a time {i} there\n"),
        _ => "the cat was once upon a time there.\n".to_owned(),
    };
    let settings = TuneSettings {
        text: (0..300).map(line).collect(),
        ..settings(false)
    };
    let events = tune(&mut s, settings);
    let prompts: Vec<&str> = events
        .iter()
        .filter_map(|e| match e {
            Event::TuneSample { sample } if sample.step == 0 => Some(sample.prompt.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(
        prompts,
        ["upon a time 0", "the cat was once", "upon a time 280"]
    );
}

/// Conversations beside no text: the assistant's words are learnt, the prompts are questions, and
/// an interruption keeps all of it.
#[test]
fn conversations_are_learnt() {
    let mut s = session();
    let talk = |i: usize| {
        Conversation::from(vec![
            Message::new("user", format!("where was cat {i}? <|end|>")),
            Message::new("assistant", "upon a time there"),
        ])
    };
    let settings = TuneSettings {
        text: String::new(),
        conversations: (0..40).map(talk).collect(),
        learning_rate: Some(1e-2),
        ..settings(false)
    };
    let losses = validations(&tune(&mut s, settings.clone()));
    assert!(losses[losses.len() - 1] < losses[0] - 0.5, "{losses:?}");
    let mut s = session();
    let stop = s.stop_handle();
    let mut state = None;
    pollster::block_on(
        s.run_task(ModelTask::Tune { settings }, &mut |event| match event {
            Event::TunePoint { point } if point.step == 4 => stop.stop(),
            Event::TuneState { state: bytes, .. } => state = Some(bytes),
            _ => {}
        }),
    );
    let state = state.unwrap();
    let restored = run(&mut session(), ModelTask::RestoreTune { state });
    let Some(Event::TuneStarted {
        before, settings, ..
    }) = restored.first()
    else {
        panic!("{restored:?}")
    };
    let prompts: Vec<&str> = before.iter().map(|sample| sample.prompt.as_str()).collect();
    let asked = |i: usize| format!("where was cat {i}? <|end|>\n");
    assert_eq!(prompts, [36, 37, 38].map(asked));
    assert_eq!(settings.conversations.len(), 40);
}

/// What a conversation says of functions is part of it, and what was kept before it was is read.
#[test]
fn functions_of_conversations_are_learnt() {
    let talk = |i: usize, tools: Vec<Tool>| Conversation {
        messages: vec![
            Message::new("user", format!("where was cat {i}?")),
            Message::new("assistant", "upon a time there"),
        ],
        tools,
    };
    let find = Tool {
        name: "find".into(),
        description: Some("the cat that was there".into()),
        parameters: serde_json::json!({"type": "object", "properties": {}}),
        strict: false,
    };
    let tokens = |tools: &[Tool]| {
        let settings = TuneSettings {
            text: String::new(),
            conversations: (0..40).map(|i| talk(i, tools.to_vec())).collect(),
            seq_len: Some(64),
            ..settings(false)
        };
        let kept = serde_json::to_string(&settings).unwrap();
        assert_eq!(
            serde_json::from_str::<TuneSettings>(&kept).unwrap(),
            settings
        );
        let events = run(&mut session(), ModelTask::PlanTune { settings });
        let Some(Event::TunePlan { plan }) = events.first() else {
            panic!("{events:?}")
        };
        plan.tokens
    };
    // Its name and what it does, in each of them.
    assert!(tokens(&[find]) > tokens(&[]) + 40 * 8);
    let before = r#"{"conversations": [[{"role": "user", "content": "who?"}]]}"#;
    let read: TuneSettings = serde_json::from_str(before).unwrap();
    assert_eq!(
        read.conversations,
        [Conversation::from(vec![Message::new("user", "who?")])]
    );
}

/// Stopped, saved, restored into a new session and ended there: the same points as without.
#[test]
fn an_interrupted_fine_tuning_goes_on_bit_for_bit() {
    for lora in [false, true] {
        let mut s = session();
        let whole = points(&tune(&mut s, settings(lora)));
        let expected = file(&mut s, Keep::Model);
        let mut s = session();
        let stop = s.stop_handle();
        let (mut seen, mut count) = (Vec::new(), 0);
        let settings = settings(lora);
        pollster::block_on(s.run_task(ModelTask::Tune { settings }, &mut |event| {
            count += usize::from(matches!(event, Event::TunePoint { .. }));
            if count == 8 {
                stop.stop();
            }
            seen.push(event);
        }));
        let Some(Event::TuneStopped { step, done: false }) = seen.last() else {
            panic!("{:?}", seen.last())
        };
        assert!((2..19).contains(step), "{step}");
        let state = seen.iter().rev().find_map(|e| match e {
            Event::TuneState { state, .. } => Some(state.clone()),
            _ => None,
        });
        let mut fresh = session();
        let state = state.unwrap();
        let restored = run(&mut fresh, ModelTask::RestoreTune { state });
        let [
            Event::TuneStarted { points: had, .. },
            Event::TuneStopped { .. },
        ] = &restored[..]
        else {
            panic!("{restored:?}")
        };
        let rest = run(&mut fresh, ModelTask::ContinueTune);
        let had = had.iter().map(|p| TunePoint {
            tokens_per_second: 0.0,
            ..*p
        });
        let all: Vec<_> = had.chain(points(&rest)).collect();
        assert_eq!(all.len(), whole.len());
        for (a, b) in all.iter().zip(&whole) {
            // Points are kept as JSON, which may round the last digit; the weights are not.
            assert!((a.loss.unwrap_or(0.0) - b.loss.unwrap_or(0.0)).abs() < 1e-12);
            assert_eq!(
                (a.step, a.validation.is_some()),
                (b.step, b.validation.is_some())
            );
        }
        assert!(file(&mut fresh, Keep::Model) == expected);
    }
}

#[test]
fn bad_settings_and_states_are_refused() {
    let mut s = session();
    let mut refused = |task: ModelTask, word: &str| {
        let seen = run(&mut s, task);
        let said = matches!(&seen[..], [Event::Error { message }] if message.contains(word));
        assert!(said, "{word}: {seen:?}");
    };
    let short = TuneSettings {
        text: "a cat".into(),
        ..settings(false)
    };
    refused(ModelTask::Tune { settings: short }, "too short");
    let lora = Some(LoraConfig {
        rank: 0,
        ..LoraConfig::default()
    });
    let none = TuneSettings {
        lora,
        ..settings(true)
    };
    refused(ModelTask::PlanTune { settings: none }, "rank");
    let state = b"no state".to_vec();
    refused(ModelTask::RestoreTune { state }, "cannot be continued");
    let keep = Keep::Model;
    refused(ModelTask::ExportTune { keep }, "no fine-tuning");
    let plan = run(
        &mut s,
        ModelTask::PlanTune {
            settings: settings(false),
        },
    );
    assert!(
        matches!(&plan[..], [Event::TunePlan { plan }] if plan.memory_bytes > 100_000 && plan.trained > 10_000)
    );
}

#[test]
fn whole_lines_are_held_back() {
    let text = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n";
    assert_eq!(hold_back(text).1, "ten\n");
    assert_eq!(hold_back("ééééé"), ("éééé", "é"));
    assert_eq!(hold_back(&"é".repeat(20)).1, "éé");
}
