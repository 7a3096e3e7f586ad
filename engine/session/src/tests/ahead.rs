//! Replies of a GPU, which chooses their tokens itself, against the host's choice from its logits.

use super::*;
use crate::generate::recent;
use ternary_infer::{CANDIDATES, Sampler};

/// A model on the GPU, unless GPU tests are switched off.
fn gpu_session(change: impl FnOnce(&mut ModelConfig)) -> Option<Session> {
    if std::env::var("ONEBIT_GPU_TESTS").is_ok_and(|v| v == "off") {
        eprintln!("SKIPPED: GPU tests are switched off by ONEBIT_GPU_TESTS=off");
        return None;
    }
    let mut session = Session::new();
    let source = Rc::new(MemorySource::new("tiny.1bit", file_with(change)));
    let events = events(|emit| pollster::block_on(session.load(source, DeviceChoice::Gpu, emit)));
    let loaded = matches!(events.last(), Some(Event::Loaded { .. }));
    assert!(loaded, "{events:?}");
    assert!(session.loaded().unwrap().model.runs_ahead());
    Some(session)
}

fn generate(prompt: &str, sampling: &Sampling) -> Command {
    Command::Generate {
        prompt: prompt.into(),
        sampling: sampling.clone(),
        form: None,
    }
}

/// A reply chosen by the host from each step's candidates: the ids of the prompt and of what
/// follows, and whether it ended by itself.
fn by_the_host(session: &mut Session, prompt: &str, sampling: &Sampling) -> (Vec<u32>, bool) {
    let LoadedModel {
        model, tokenizer, ..
    } = session.loaded().unwrap();
    let tokenizer = tokenizer.as_ref().unwrap();
    model.truncate(0);
    let mut ids = tokenizer.encode_to_continue(prompt).unwrap();
    let mut sampler = Sampler::new(sampling);
    let mut fed = 0;
    for _ in 0..sampling.max_tokens {
        let recent = recent(&ids);
        let feed = model.feed(&ids[fed..], &recent, sampling.repetition_penalty);
        let candidates = pollster::block_on(feed).unwrap();
        fed = ids.len();
        let id = sampler.choose(candidates).unwrap();
        if tokenizer.is_end(id) {
            return (ids, true);
        }
        ids.push(id);
    }
    (ids, false)
}

#[test]
fn a_gpu_chooses_what_the_host_would() {
    let Some(mut session) = gpu_session(|config| config.max_seq_len = 400) else {
        return;
    };
    let prompt = "once upon a time";
    let greedy = greedy(30);
    let drawn = Sampling {
        temperature: 1.0,
        ..greedy.clone()
    };
    let mut ended = 0;
    for sampling in [
        // More tokens than the penalty looks back at.
        Sampling {
            max_tokens: 320,
            repetition_penalty: 1.2,
            ..greedy.clone()
        },
        Sampling {
            repetition_penalty: 1.0,
            ..greedy.clone()
        },
        drawn.clone(),
        Sampling {
            top_k: 0,
            top_p: 1.0,
            temperature: 1.5,
            ..drawn.clone()
        },
    ] {
        for seed in 0..if sampling.temperature > 0.0 { 12 } else { 1 } {
            let sampling = Sampling {
                seed,
                ..sampling.clone()
            };
            let (ids, has_ended) = by_the_host(&mut session, prompt, &sampling);
            ask(&mut session, Command::Reset);
            let (_, events) = ask(&mut session, generate(prompt, &sampling));
            let (reason, stats) = stats(&events);
            // The last token is not fed, unless it is the end, which is not kept.
            let fed = ids.len() - usize::from(!has_ended);
            let cached = session.loaded().unwrap().model.cached();
            assert_eq!(cached, &ids[..fed], "{sampling:?}");
            assert_eq!(reason == FinishReason::End, has_ended);
            let reply = ids.len() + usize::from(has_ended) - stats.prompt_tokens;
            assert_eq!(stats.generated_tokens, reply);
            ended += usize::from(has_ended);
        }
    }
    assert!(ended > 0, "no reply came to its end");
}

#[test]
fn greedy_replies_are_the_cpus() {
    let Some(mut gpu) = gpu_session(|_| {}) else {
        return;
    };
    for prompt in ["once upon", "a cat", "there was"] {
        let sampling = Sampling {
            repetition_penalty: 1.0,
            ..greedy(40)
        };
        let (text, _) = ask(&mut gpu, generate(prompt, &sampling));
        assert_eq!(ask(&mut session(), generate(prompt, &sampling)).0, text);
    }
}

#[test]
fn a_reply_ends_where_it_should_whatever_was_computed_beyond() {
    let Some(mut session) = gpu_session(|_| {}) else {
        return;
    };
    let prompt = "once upon a time";
    let sampling = greedy(40);
    let (ids, _) = by_the_host(&mut session, prompt, &sampling);
    ask(&mut session, Command::Reset);
    let (text, _) = ask(&mut session, generate(prompt, &sampling));
    let read = |session: &mut Session| session.loaded().unwrap().model.read_bytes();
    // The first token is chosen from candidates that are read back, each other one is four bytes.
    let first = 8 * CANDIDATES.min(session.loaded().unwrap().model.config().vocab_size) as u64;
    for tokens in [1, 2, 3, 17] {
        ask(&mut session, Command::Reset);
        let before = read(&mut session);
        let (_, events) = ask(&mut session, generate(prompt, &greedy(tokens)));
        let (reason, stats) = stats(&events);
        assert_eq!(reason, FinishReason::Length);
        assert_eq!(stats.generated_tokens, tokens);
        assert_eq!(read(&mut session) - before, first + 4 * (tokens as u64 - 1));
        let cached = session.loaded().unwrap().model.cached();
        assert_eq!(cached, &ids[..stats.prompt_tokens + tokens - 1]);
    }

    // At a text that some token in the middle completes.
    let half = text.chars().count() / 2;
    let stop: String = text.chars().skip(half).take(2).collect();
    let stopped = Sampling {
        stop: vec![stop.clone()],
        ..sampling.clone()
    };
    let (cut, events) = ask(&mut session, generate(prompt, &stopped));
    assert_eq!(stats(&events).0, FinishReason::End);
    assert_eq!(Some(cut.len()), text.find(&stop));

    // By the reader.
    let stop = session.stop_handle();
    let mut seen = Vec::new();
    let command = generate(prompt, &sampling);
    pollster::block_on(session.handle(command.clone(), &mut |event| {
        seen.push(event);
        if seen.len() == 5 {
            stop.stop();
        }
    }));
    let (reason, figures) = stats(&seen);
    assert_eq!(reason, FinishReason::Stopped);
    assert!(figures.generated_tokens < 20, "{figures:?}");
    let before = figures.context_used - 1;
    assert_eq!(session.loaded().unwrap().model.cached(), &ids[..before]);

    // The next reply goes on from what was kept as if nothing had been computed beyond it.
    assert_eq!(ask(&mut session, command).0, text);
}

#[test]
fn a_full_context_ends_a_reply() {
    let Some(mut session) = gpu_session(|config| config.max_seq_len = 64) else {
        return;
    };
    let (_, events) = ask(&mut session, generate("cat cat cat", &greedy(500)));
    let (reason, figures) = stats(&events);
    assert!(matches!(reason, FinishReason::Context | FinishReason::End));
    assert!(figures.context_used <= figures.context_size);
}
