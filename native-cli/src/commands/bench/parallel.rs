//! `onebit bench --parallel`: replies to several requests at the same time, as a server writes
//! them.

use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde::Serialize;
use ternary::format::ByteSource;
use ternary::infer::Sampling;
use ternary::session::service::{Client, Request, Service, ServiceOptions, Update};
use ternary::words::counted;

use crate::args::Bench;
use crate::output::outln;

/// Tokens of every prompt where no number is given.
const PROMPT: usize = 64;

/// Tokens of every prompt and of every reply.
#[derive(Clone, Copy)]
struct Lengths {
    prompt: usize,
    reply: usize,
}

#[derive(Serialize)]
struct Figures {
    requests: usize,
    /// Of all replies together, from the first request to the last token.
    tokens_per_second: f64,
    /// Of one reply, between its first token and its last.
    each_tokens_per_second: f64,
    /// From a request to its first token: the middle one, and the slowest.
    first_token_ms: f64,
    slowest_first_token_ms: f64,
}

/// When the tokens of a reply came.
#[derive(Default)]
struct Times {
    tokens: Vec<Instant>,
    failed: Option<String>,
}

struct Clock(Arc<Mutex<Times>>);

impl Client for Clock {
    fn update(&mut self, update: Update) {
        let Ok(mut times) = self.0.lock() else { return };
        match update {
            Update::Token { .. } => times.tokens.push(Instant::now()),
            Update::Failed(error) => times.failed = Some(error.to_string()),
            _ => {}
        }
    }

    fn is_gone(&self) -> bool {
        false
    }
}

pub fn run(a: &Bench, source: Rc<dyn ByteSource>) -> Result<()> {
    let prompt = match a.prefill[..] {
        [] => PROMPT,
        [one] => one as usize,
        _ => bail!("--prefill with --parallel is the one length of all prompts; give one number"),
    };
    ensure!(
        a.tokens >= 2,
        "--tokens {}: the time between tokens takes replies of 2 at least",
        a.tokens
    );
    let lengths = Lengths {
        prompt,
        reply: a.tokens,
    };
    let most = a.parallel.iter().copied().max().unwrap_or(1) as usize;
    let options = ServiceOptions {
        device: a.device,
        threads: a.threads,
        context: None,
        cache: a.kv.into(),
        parallel: most,
        drafts: false,
    };
    let mut service = pollster::block_on(Service::load(source, &options))?;
    let context = service.context();
    ensure!(
        context >= prompt + a.tokens,
        "prompts of {} with replies of {} do not fit in the context of {context}; \
         give smaller numbers by --prefill and --tokens",
        counted(prompt, "token"),
        a.tokens
    );
    // Not counted: memory is cleared by the system when it is first touched.
    measure(&mut service, most, 0, lengths)?;
    let mut all = Vec::new();
    for (i, requests) in a.parallel.iter().enumerate() {
        let start = Instant::now();
        let mut rounds: Vec<Figures> = Vec::new();
        while rounds.len() < a.repeat && start.elapsed() < super::LONGEST {
            let seed = 1 + (i * a.repeat + rounds.len()) as u32;
            rounds.push(measure(&mut service, *requests as usize, seed, lengths)?);
        }
        rounds.sort_by(|a, b| a.tokens_per_second.total_cmp(&b.tokens_per_second));
        all.push(rounds.remove(rounds.len() / 2));
    }
    if a.json {
        outln!("{}", serde_json::to_string(&all)?);
        return Ok(());
    }
    let processor = ternary::platform::processor();
    let device = &service.info().device.clone();
    outln!(
        "{}; {} ({}); prompts of {}, replies of {}",
        processor.as_deref().unwrap_or("a processor without a name"),
        device.kind,
        device.name,
        counted(prompt, "token"),
        a.tokens
    );
    outln!("requests  tokens/s  each tokens/s  first token, ms  slowest, ms");
    for f in &all {
        outln!(
            "{:>8}  {:>8.1}  {:>13.1}  {:>15.1}  {:>11.1}",
            f.requests,
            f.tokens_per_second,
            f.each_tokens_per_second,
            f.first_token_ms,
            f.slowest_first_token_ms
        );
    }
    Ok(())
}

/// So many requests at once, all from the beginning; no two prompts begin alike.
fn measure(service: &mut Service, requests: usize, seed: u32, lengths: Lengths) -> Result<Figures> {
    let vocab = service.info().config.vocab_size as u32;
    // After random tokens a model may end its text at once.
    let ends = |id: &u32| service.tokenizer().is_some_and(|t| t.is_end(*id));
    let forbidden: Vec<(u32, f32)> = (0..vocab).filter(ends).map(|id| (id, -100.0)).collect();
    let begin = Instant::now();
    let times: Vec<Arc<Mutex<Times>>> = (0..requests as u32)
        .map(|i| {
            let times = Arc::default();
            let first = seed * 1000 + i;
            let prompt = (0..lengths.prompt as u32).map(|t| (first * 7919 + t * 104_729) % vocab);
            let request = Request {
                prompt: prompt.collect(),
                sampling: Sampling {
                    temperature: 0.0,
                    repetition_penalty: 1.0,
                    max_tokens: lengths.reply,
                    ..Sampling::default()
                },
                logit_bias: forbidden.clone(),
                ..Request::default()
            };
            service.submit(request, Box::new(Clock(Arc::clone(&times))));
            times
        })
        .collect();
    while !service.is_idle() {
        pollster::block_on(service.step())?;
    }
    let whole = begin.elapsed();
    let (mut first, mut each, mut count) = (Vec::new(), 0.0, 0);
    for times in &times {
        let Ok(times) = times.lock() else { continue };
        if let Some(problem) = &times.failed {
            bail!("a request failed: {problem}");
        }
        let [one, .., last] = times.tokens[..] else {
            bail!(
                "a reply ended after {}",
                counted(times.tokens.len(), "token")
            );
        };
        first.push(one - begin);
        each += (times.tokens.len() - 1) as f64 / (last - one).as_secs_f64();
        count += times.tokens.len();
    }
    first.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(Figures {
        requests,
        tokens_per_second: count as f64 / whole.as_secs_f64(),
        each_tokens_per_second: each / requests.max(1) as f64,
        first_token_ms: first.get(first.len() / 2).copied().map_or(0.0, ms),
        slowest_first_token_ms: first.last().copied().map_or(0.0, ms),
    })
}
