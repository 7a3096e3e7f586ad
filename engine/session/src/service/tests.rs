use std::sync::{Arc, Mutex};

use ternary_common::bytes::MemorySource;

use super::*;
use crate::tests::{ask, file_with, session};
use crate::{Command, Session};
use ternary_core::config::{LayerBitMap, ModelConfig, QuantMode};
use ternary_infer::{Answer, Constraint, TokenSet};

/// What a client was told.
#[derive(Debug, Default)]
struct Told {
    text: String,
    ids: Vec<u32>,
    logprobs: Vec<TokenLogprob>,
    prompt: Option<Vec<TokenLogprob>>,
    embedding: Vec<f32>,
    end: Option<(FinishReason, Usage, Option<String>)>,
    error: Option<String>,
    /// After so many tokens nobody listens.
    leaves: Option<usize>,
}

#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Told>>);

impl Listener {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap()
    }
}

impl Client for Listener {
    fn update(&mut self, update: Update) {
        let mut told = self.told();
        assert!(
            told.end.is_none() && told.error.is_none(),
            "{update:?} after the end"
        );
        match update {
            Update::Prompt { logprobs } => {
                assert!(told.prompt.is_none() && told.ids.is_empty());
                told.prompt = Some(logprobs);
            }
            Update::Token { text, logprob, id } => {
                assert!(told.prompt.is_some());
                told.text += &text;
                told.ids.push(id);
                told.logprobs.extend(logprob);
            }
            Update::Embedding(values) => told.embedding = values,
            Update::Finished {
                text,
                reason,
                usage,
                stop,
            } => {
                told.text += &text;
                told.end = Some((reason, usage, stop));
            }
            Update::Failed(error) => told.error = Some(error.to_string()),
        }
    }

    fn is_gone(&self) -> bool {
        let told = self.told();
        told.leaves.is_some_and(|after| told.ids.len() >= after)
    }
}

fn options() -> ServiceOptions {
    ServiceOptions {
        device: DeviceChoice::Cpu,
        threads: 2,
        context: None,
        cache: CachePrecision::F16,
        parallel: 4,
        drafts: false,
    }
}

fn service_of(bytes: Vec<u8>, options: &ServiceOptions) -> Service {
    let source = Rc::new(MemorySource::new("tiny.1bit", bytes));
    pollster::block_on(Service::load(source, options)).unwrap()
}

fn service(change: impl FnOnce(&mut ServiceOptions)) -> Service {
    let mut options = options();
    change(&mut options);
    service_of(file_with(|_| {}), &options)
}

fn greedy(max_tokens: usize) -> Sampling {
    Sampling {
        temperature: 0.0,
        repetition_penalty: 1.0,
        max_tokens,
        ..Sampling::default()
    }
}

fn request(service: &Service, prompt: &str, sampling: Sampling) -> Request {
    Request {
        prompt: service
            .tokenizer()
            .unwrap()
            .encode_to_continue(prompt)
            .unwrap(),
        sampling,
        goes_on: true,
        ..Request::default()
    }
}

fn submit(service: &mut Service, request: Request) -> Listener {
    let listener = Listener::default();
    service.submit(request, Box::new(listener.clone()));
    listener
}

fn run(service: &mut Service) {
    for _ in 0..10_000 {
        if service.is_idle() {
            return;
        }
        pollster::block_on(service.step()).unwrap();
    }
    panic!("it never ends");
}

const PROMPTS: [&str; 6] = [
    "once upon a time",
    "once upon a time there was a cat once upon a time there was a cat once upon",
    "a",
    "there was",
    "once upon a time there was a cat once upon a time there was a cat a time",
    "cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat",
];

/// Model files whose products go through every kind of kernel.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let map = |body: QuantMode, head: QuantMode| {
        move |config: &mut ModelConfig| {
            config.layer_bit_map = Some(LayerBitMap {
                embedding: head,
                lm_head: head,
                ..LayerBitMap::sandwich(config.num_layers, body)
            });
        }
    };
    vec![
        ("ternary, head of f16", file_with(|_| {})),
        (
            "ternary, head of 8 bits",
            file_with(map(QuantMode::Ternary, QuantMode::EightBit)),
        ),
        (
            "8 bits",
            file_with(map(QuantMode::EightBit, QuantMode::EightBit)),
        ),
        ("f16", file_with(map(QuantMode::F16, QuantMode::F16))),
        (
            "float activations",
            file_with(|config| config.activation_bits = None),
        ),
        (
            "a window",
            file_with(|config| config.sliding_window = Some(20)),
        ),
        (
            "learned positions",
            file_with(|config| config.use_rope = false),
        ),
    ]
}

#[test]
fn a_text_is_the_same_alone_and_among_others() {
    for (what, file) in files() {
        for cache in [CachePrecision::F32, CachePrecision::F16, CachePrecision::Q8] {
            let options = ServiceOptions { cache, ..options() };
            let sampling = |i: usize| match i % 2 {
                0 => greedy(40),
                _ => Sampling {
                    seed: i as u64,
                    max_tokens: 40,
                    ..Sampling::default()
                },
            };
            let alone: Vec<Vec<u32>> = (0..PROMPTS.len())
                .map(|i| {
                    let mut service = service_of(file.clone(), &options);
                    let request = request(&service, PROMPTS[i], sampling(i));
                    let listener = submit(&mut service, request);
                    run(&mut service);
                    let told = listener.told();
                    assert!(told.end.is_some(), "{told:?}");
                    told.ids.clone()
                })
                .collect();
            assert!(alone.iter().any(|ids| ids.len() == 40));
            for drafts in [false, true] {
                let options = ServiceOptions {
                    drafts,
                    ..options.clone()
                };
                let mut service = service_of(file.clone(), &options);
                let mut listeners = Vec::new();
                // More than are answered at once; some come later.
                for round in 0..3 {
                    for (i, prompt) in PROMPTS.iter().enumerate() {
                        let request = request(&service, prompt, sampling(i));
                        listeners.push((i, submit(&mut service, request)));
                        if round > 0 {
                            pollster::block_on(service.step()).unwrap();
                        }
                    }
                }
                run(&mut service);
                for (i, listener) in &listeners {
                    assert_eq!(
                        listener.told().ids,
                        alone[*i],
                        "{what}, {cache:?}, {drafts}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_text_is_the_one_that_a_session_writes() {
    let mut session: Session = session();
    for prompt in PROMPTS {
        let (text, _) = ask(
            &mut session,
            Command::Generate {
                prompt: prompt.to_owned(),
                sampling: greedy(30),
                form: None,
            },
        );
        let mut service = service(|options| {
            options.cache = CachePrecision::F32;
            options.drafts = true;
        });
        let request = request(&service, prompt, greedy(30));
        let listener = submit(&mut service, request);
        run(&mut service);
        assert_eq!(listener.told().text, text);
    }
}

#[test]
fn beginnings_are_read_once() {
    let mut service = service(|_| {});
    let long = PROMPTS[1].repeat(2);
    let first = request(&service, &long, greedy(1));
    let tokens = first.prompt.len();
    assert!(tokens > 64);
    let again = request(&service, &long, greedy(1));
    let told = submit(&mut service, first);
    run(&mut service);
    assert_eq!(told.told().end.as_ref().unwrap().1.cached_tokens, 0);
    let told = submit(&mut service, again);
    run(&mut service);
    let usage = told.told().end.as_ref().unwrap().1;
    assert_eq!(usage.cached_tokens, (tokens - 1) / 32 * 32);
    assert_eq!(usage.prompt_tokens, tokens);
}

#[test]
fn guesses_that_hold_save_steps() {
    let count = |drafts: bool| {
        let mut service = service(|options| options.drafts = drafts);
        let request = request(&service, PROMPTS[5], greedy(60));
        let listener = submit(&mut service, request);
        let mut steps = 0;
        while !service.is_idle() {
            pollster::block_on(service.step()).unwrap();
            steps += 1;
        }
        let told = listener.told();
        (steps, told.end.as_ref().unwrap().1, told.ids.clone())
    };
    let (without, usage, ids) = count(false);
    assert_eq!(
        (usage.drafted_tokens, without),
        (0, ids.len().max(usage.generated_tokens))
    );
    let (with, usage, same) = count(true);
    assert_eq!(same, ids);
    assert!(
        usage.accepted_tokens > 0 && with == without - usage.accepted_tokens,
        "{usage:?}"
    );
}

#[test]
fn another_model_guesses_and_changes_nothing() {
    let ask = |draft: Option<Vec<u8>>| {
        let mut service = service(|_| {});
        if let Some(bytes) = draft {
            let source = Rc::new(MemorySource::new("draft.1bit", bytes));
            pollster::block_on(service.draft_with(source)).unwrap();
        }
        let told: Vec<Listener> = (0..2 * PROMPTS.len())
            .map(|i| {
                let sampling = match i % 2 {
                    0 => greedy(50),
                    _ => Sampling {
                        seed: i as u64,
                        max_tokens: 50,
                        ..Sampling::default()
                    },
                };
                let request = request(&service, PROMPTS[i % PROMPTS.len()], sampling);
                submit(&mut service, request)
            })
            .collect();
        run(&mut service);
        let usage = |told: &Listener| told.told().end.as_ref().unwrap().1;
        let sum = |of: &dyn Fn(Usage) -> usize| told.iter().map(|t| of(usage(t))).sum::<usize>();
        let counts = [
            sum(&|usage| usage.drafted_tokens),
            sum(&|usage| usage.accepted_tokens),
        ];
        (
            told.iter()
                .map(|t| t.told().ids.clone())
                .collect::<Vec<_>>(),
            counts,
        )
    };
    let (alone, none) = ask(None);
    assert_eq!(none, [0, 0]);
    // The model itself is right about what is greedy.
    let (same, [drafted, accepted]) = ask(Some(file_with(|_| {})));
    assert_eq!(same, alone);
    assert!(
        accepted > 50 && accepted <= drafted,
        "{accepted} of {drafted}"
    );
    let coarser = file_with(|config| {
        config.layer_bit_map = Some(LayerBitMap::sandwich(config.num_layers, QuantMode::Binary));
    });
    let (same, [drafted, accepted]) = ask(Some(coarser));
    assert_eq!(same, alone);
    assert!(drafted > 0 && accepted < drafted);
    let foreign = file_with(|config| config.vocab_size += 8);
    let source = Rc::new(MemorySource::new("other.1bit", foreign));
    let error = pollster::block_on(service(|_| {}).draft_with(source)).unwrap_err();
    assert!(
        error.to_string().contains("other.1bit cannot guess"),
        "{error}"
    );
}

#[test]
fn who_leaves_makes_room() {
    let mut service = service(|options| options.parallel = 1);
    let first = request(&service, PROMPTS[0], greedy(100));
    let second = request(&service, PROMPTS[3], greedy(3));
    let gone = submit(&mut service, first);
    gone.told().leaves = Some(2);
    let waits = submit(&mut service, second);
    pollster::block_on(service.step()).unwrap();
    assert_eq!(service.load_now(), (1, 1));
    run(&mut service);
    assert_eq!(gone.told().ids.len(), 2);
    assert!(gone.told().end.is_none());
    assert!(waits.told().end.is_some());
}

#[test]
fn what_cannot_be_answered_is_told_at_once() {
    let mut service = service(|options| options.context = Some(20));
    let good = || request(&service, "a", greedy(5));
    let long = request(&service, PROMPTS[1], greedy(5));
    let bad = [
        (long, "context"),
        (
            Request {
                prompt: vec![70_000],
                ..good()
            },
            "70000",
        ),
        (
            Request {
                adapter: Some("pirate".into()),
                ..good()
            },
            "no adapter `pirate`",
        ),
        (
            Request {
                logit_bias: vec![(70_000, 1.0)],
                ..good()
            },
            "70000",
        ),
        (
            Request {
                sampling: Sampling {
                    top_p: 0.0,
                    ..greedy(5)
                },
                ..good()
            },
            "top_p",
        ),
    ];
    for (request, reason) in bad {
        let told = submit(&mut service, request);
        let error = told.told().error.clone().unwrap();
        assert!(error.contains(reason), "{error}");
        assert!(service.is_idle());
    }
    // A reply may fill the context.
    let filling = request(&service, "a", greedy(1000));
    let told = submit(&mut service, filling);
    run(&mut service);
    let (reason, usage, _) = told.told().end.clone().unwrap();
    if reason != FinishReason::End {
        assert_eq!(reason, FinishReason::Context);
        assert_eq!(usage.prompt_tokens + usage.generated_tokens, 20);
    }
}

#[test]
fn probabilities_of_prompt_and_reply_are_those_of_the_logits() {
    let mut service = service(|options| options.cache = CachePrecision::F32);
    let asked = Request {
        prompt_logprobs: Some(2),
        logprobs: Some(3),
        ..request(&service, PROMPTS[4], greedy(6))
    };
    let mut ids = asked.prompt.clone();
    let n = ids.len();
    let told = submit(&mut service, asked);
    run(&mut service);
    let told = told.told();
    ids.extend(&told.ids);
    let mut session = session();
    let mut rows = Vec::new();
    let model = &mut session.loaded().unwrap().model;
    pollster::block_on(model.logits(&ids, &mut |part| rows.extend_from_slice(part))).unwrap();
    let vocab = rows.len() / ids.len();
    let all: Vec<&TokenLogprob> = told.prompt.iter().flatten().chain(&told.logprobs).collect();
    assert_eq!(all.len(), ids.len() - 1);
    for (i, got) in all.into_iter().enumerate() {
        let row = &rows[i * vocab..][..vocab];
        let total = row.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln();
        let id = ids[i + 1];
        assert_eq!(got.id, id);
        assert!((f64::from(got.logprob) - (f64::from(row[id as usize]) - total)).abs() < 1e-4);
        assert_eq!(got.top.len(), if i + 1 < n { 2 } else { 3 });
        if i + 1 >= n {
            assert_eq!(got.top[0].0, id, "greedy");
        }
    }
}

#[test]
fn an_embedding_is_the_mean_direction() {
    let mut service = service(|_| {});
    let embed = |service: &mut Service, text: &str| {
        let request = Request {
            embed: true,
            ..request(service, text, greedy(1))
        };
        let told = submit(service, request);
        run(service);
        let told = told.told();
        assert!(told.text.is_empty() && told.end.is_some());
        told.embedding.clone()
    };
    let a = embed(&mut service, PROMPTS[1]);
    assert_eq!(a.len(), 32);
    assert!((a.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5);
    assert_eq!(embed(&mut service, PROMPTS[1]), a);
    assert_ne!(embed(&mut service, PROMPTS[2]), a);
}

/// One word of three.
struct OneOf {
    words: Vec<Vec<u32>>,
    said: Vec<u32>,
}

impl Constraint for OneOf {
    fn allowed(&mut self) -> ternary_grammar::Result<TokenSet> {
        let mut set = TokenSet::none(1 << 12);
        for word in &self.words {
            if word.starts_with(&self.said) {
                word.get(self.said.len())
                    .into_iter()
                    .for_each(|id| set.allow(*id));
            }
        }
        Ok(set)
    }

    fn accept(&mut self, id: u32) -> ternary_grammar::Result<()> {
        self.said.push(id);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.words.contains(&self.said)
    }
}

#[test]
fn a_reply_is_what_it_has_to_be() {
    let mut service = service(|options| options.drafts = true);
    let words = ["time", "upon cat", "zebra"];
    let encoded: Vec<Vec<u32>> = words
        .iter()
        .map(|word| service.tokenizer().unwrap().encode(word).unwrap())
        .collect();
    for seed in 0..8 {
        let sampling = Sampling {
            temperature: 1.0,
            seed,
            ..Sampling::default()
        };
        let request = Request {
            constraint: Some(Box::new(OneOf {
                words: encoded.clone(),
                said: Vec::new(),
            })),
            goes_on: false,
            ..request(&service, PROMPTS[0], sampling)
        };
        let told = submit(&mut service, request);
        run(&mut service);
        let told = told.told();
        assert!(words.contains(&told.text.trim_start()), "{told:?}");
        assert_eq!(told.end.as_ref().unwrap().0, FinishReason::End);
    }
}

/// As in a vocabulary without a token for the end: nothing of it may come.
#[test]
fn a_reply_that_may_only_end_ends() {
    let mut service = service(|_| {});
    let request = Request {
        constraint: Some(Box::new(OneOf {
            words: Vec::new(),
            said: Vec::new(),
        })),
        ..request(&service, PROMPTS[0], greedy(9))
    };
    let told = submit(&mut service, request);
    run(&mut service);
    let told = told.told();
    assert_eq!(told.error, None);
    assert_eq!(told.end.as_ref().unwrap().0, FinishReason::End);
    assert!(told.ids.is_empty());
}

#[test]
fn stop_texts_end_a_reply_and_are_named() {
    let mut service = service(|_| {});
    let all = request(&service, PROMPTS[0], greedy(30));
    let told = submit(&mut service, all);
    run(&mut service);
    let text = told.told().text.clone();
    let stop: String = text.chars().skip(4).take(3).collect();
    let stopped = Request {
        sampling: Sampling {
            stop: vec!["never said".into(), stop.clone()],
            ..greedy(30)
        },
        ..request(&service, PROMPTS[0], greedy(30))
    };
    let told = submit(&mut service, stopped);
    run(&mut service);
    let told = told.told();
    assert_eq!(told.text, text[..text.find(&stop).unwrap()]);
    assert_eq!(told.end.as_ref().unwrap().2.as_ref(), Some(&stop));
}

#[test]
fn memory_stays_what_it_was() {
    let mut service = service(|options| options.parallel = 3);
    let mut round = |n: usize| {
        for i in 0..n {
            let text = format!("{} {i}", PROMPTS[i % PROMPTS.len()]);
            let request = request(&service, &text, greedy(20));
            submit(&mut service, request);
        }
        run(&mut service);
        service.sequences.memory().total()
    };
    round(20);
    let after = round(20);
    assert_eq!(round(60), after);
}

#[test]
fn answers_are_as_likely_as_the_logits_say() {
    let mut service = service(|options| options.cache = CachePrecision::F32);
    let tokenizer = service.tokenizer().unwrap().clone();
    let context = PROMPTS[1];
    let endings = [" a time", " cat there", " once upon a time"];
    let answers: Vec<Answer> = endings
        .iter()
        .map(|continuation| Answer {
            context,
            continuation,
            letters: continuation.len() - 1,
        })
        .collect();
    let mut session = session();
    let model = &mut session.loaded().unwrap().model;
    let mut expected = Vec::new();
    for ending in endings {
        let before = tokenizer.encode(context).unwrap();
        let ids = tokenizer.encode(&format!("{context}{ending}")).unwrap();
        assert_eq!(ids[..before.len()], before);
        let mut rows = Vec::new();
        pollster::block_on(model.logits(&ids, &mut |part| rows.extend_from_slice(part))).unwrap();
        let vocab = rows.len() / ids.len();
        let nats = |i: usize| {
            let row = &rows[i * vocab..][..vocab];
            let total = row.iter().map(|v| f64::from(*v).exp()).sum::<f64>().ln();
            total - f64::from(row[ids[i + 1] as usize])
        };
        expected.push(-(before.len() - 1..ids.len() - 1).map(nats).sum::<f64>());
    }
    for (answer, expected) in answers.iter().zip(&expected) {
        let sequences = &mut service.sequences;
        let found = ternary_infer::likelihood(sequences, &tokenizer, answer, None);
        let found = pollster::block_on(found).unwrap();
        assert!(
            (found.logprob - expected).abs() < 1e-3,
            "{found:?}, expected {expected}"
        );
        assert!(!found.cut);
    }
    let best = (0..3)
        .max_by(|a, b| expected[*a].total_cmp(&expected[*b]))
        .unwrap();
    let questions: Vec<Asked> = (0..3).map(|right| (answers.clone(), right)).collect();
    let score = pollster::block_on(service.score(&questions, None, &mut |_| {})).unwrap();
    assert_eq!((score.questions, score.acc.value), (3, 1.0 / 3.0));
    // √(((1 − ⅓)² + 2·⅓²) / 2 / 3)
    assert!((score.acc.stderr - 1.0 / 3.0).abs() < 1e-12);
    let only = vec![(answers.clone(), best)];
    let score = pollster::block_on(service.score(&only, None, &mut |_| {})).unwrap();
    assert_eq!((score.acc.value, score.perplexity), (1.0, None));
    let guessed: Vec<Asked> = vec![(vec![answers[0]], 0)];
    let score = pollster::block_on(service.score(&guessed, None, &mut |_| {})).unwrap();
    let perplexity = score.perplexity.unwrap().value;
    assert!((perplexity.ln() + expected[0]).abs() < 1e-3);
    assert_eq!(score.acc_norm, None);
}

/// An adapter that changes what is said, of a seed.
fn adapter(seed: u64) -> Adapter {
    use ternary_core::config::{LoraConfig, MatrixKind};
    use ternary_core::params;
    use ternary_formats::adapter::Base;
    let source = MemorySource::new("a", file_with(|_| {}));
    let file = pollster::block_on(OneBit::open(&source)).unwrap();
    let config = &file.metadata.config;
    let lora = LoraConfig {
        rank: 4,
        alpha: 64.0,
        targets: vec![MatrixKind::Q, MatrixKind::V, MatrixKind::Down],
    };
    let mut noise = ternary_core::rng::Rng::new(seed);
    let tensors = params::trained(config, Some(&lora))
        .into_iter()
        .map(|p| {
            let values = (0..p.len()).map(|_| 0.1 * noise.normal()).collect();
            (p.name.clone(), values)
        })
        .collect();
    Adapter {
        lora,
        base: Base {
            name: "tiny".into(),
            checksum: None,
        },
        tensors,
    }
}

#[test]
fn every_request_has_the_adapter_that_it_asks_for() {
    let asked = |service: &Service, adapter: Option<&str>| Request {
        adapter: adapter.map(str::to_owned),
        ..request(service, PROMPTS[1], greedy(20))
    };
    let names = [None, Some("one"), Some("two")];
    let with_both = || {
        let mut service = service(|_| {});
        for (name, seed) in [("one", 1), ("two", 2)] {
            pollster::block_on(service.add_adapter(name, adapter(seed))).unwrap();
        }
        service
    };
    let alone = names.map(|name| {
        let mut service = with_both();
        let request = asked(&service, name);
        let told = submit(&mut service, request);
        run(&mut service);
        let ids = told.told().ids.clone();
        assert_eq!(ids.len(), 20);
        ids
    });
    assert!(alone[0] != alone[1] && alone[1] != alone[2]);
    let mut service = with_both();
    // Also behind another adapter's keys of the same text.
    for _ in 0..2 {
        let told = names.map(|name| {
            let request = asked(&service, name);
            submit(&mut service, request)
        });
        run(&mut service);
        for (told, alone) in told.iter().zip(&alone) {
            assert_eq!(told.told().ids, *alone);
        }
    }
}

#[test]
fn a_gpu_answers_as_the_cpu_does() {
    if std::env::var("ONEBIT_GPU_TESTS").is_ok_and(|v| v == "off") {
        eprintln!("SKIPPED: GPU tests are switched off by ONEBIT_GPU_TESTS=off");
        return;
    }
    for cache in [CachePrecision::F32, CachePrecision::F16, CachePrecision::Q8] {
        let answers = |device: DeviceChoice| {
            let mut service = service(|options| {
                options.device = device;
                options.cache = cache;
                options.parallel = 3;
                options.drafts = true;
            });
            assert_eq!(
                service.info().device.kind.to_string(),
                match device {
                    DeviceChoice::Gpu => "gpu",
                    _ => "cpu",
                }
            );
            let told: Vec<Listener> = PROMPTS
                .iter()
                .map(|prompt| {
                    let request = request(&service, prompt, greedy(12));
                    submit(&mut service, request)
                })
                .collect();
            run(&mut service);
            told.iter()
                .map(|told| told.told().ids.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            answers(DeviceChoice::Gpu),
            answers(DeviceChoice::Cpu),
            "{cache:?}"
        );
    }
}
