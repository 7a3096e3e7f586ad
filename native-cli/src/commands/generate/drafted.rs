//! `onebit generate --draft`: tokens are guessed and several checked at once.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::json;
use ternary::platform::on_interrupt;
use ternary::session::FinishReason;
use ternary::session::service::{Client, Request, Update, Usage};
use ternary::words::counted;

use crate::args::Generate;
use crate::model::{self, ChosenSampling};
use crate::output::{self, errln, outln};

/// What has come of the reply.
#[derive(Default)]
struct Reply {
    text: String,
    first: Option<Instant>,
    end: Option<(FinishReason, Usage)>,
    failure: Option<String>,
}

struct Writer {
    reply: Arc<Mutex<Reply>>,
    stop: Arc<AtomicBool>,
    /// Tokens are written as they come.
    shown: bool,
    terminal: bool,
}

impl Client for Writer {
    fn update(&mut self, update: Update) {
        let mut reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match update {
            Update::Token { text, .. } => {
                reply.first.get_or_insert_with(Instant::now);
                text
            }
            Update::Finished {
                text,
                reason,
                usage,
                ..
            } => {
                reply.end = Some((reason, usage));
                text
            }
            Update::Failed(error) => {
                reply.failure = Some(error.to_string());
                return;
            }
            _ => return,
        };
        if self.shown {
            match self.terminal {
                true => output::write(&output::printable(&text)),
                false => output::write(&text),
            }
        }
        reply.text += &text;
    }

    fn is_gone(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

pub fn run(a: &Generate, prompt: &str, sampling: &ChosenSampling, draft: &Path) -> Result<()> {
    let of = &a.model;
    let (mut service, adapter) = model::service(of, true)?;
    if let Some(source) = model::draft(draft, &of.model)? {
        pollster::block_on(service.draft_with(source))?;
    }
    let info = service.info().clone();
    let Some(tokenizer) = service.tokenizer() else {
        bail!("this model carries no tokenizer, so it cannot read text");
    };
    let request = Request {
        prompt: tokenizer.encode_to_continue(prompt)?,
        sampling: sampling.of(&info.sampling),
        goes_on: true,
        adapter: adapter.map(str::to_owned),
        ..Request::default()
    };
    let (reply, stop) = (Arc::<Mutex<Reply>>::default(), Arc::<AtomicBool>::default());
    let flag = stop.clone();
    on_interrupt(move |_| flag.store(true, Ordering::Relaxed))?;
    let begin = Instant::now();
    let writer = Writer {
        reply: reply.clone(),
        stop,
        shown: !a.json,
        terminal: std::io::stdout().is_terminal(),
    };
    service.submit(request, Box::new(writer));
    while !service.is_idle() {
        pollster::block_on(service.step())?;
    }
    let reply = reply.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(message) = &reply.failure {
        bail!("{message}");
    }
    let (reason, usage) = reply
        .end
        .unwrap_or((FinishReason::Stopped, Usage::default()));
    let first = reply.first.unwrap_or(begin);
    let speed = usage.generated_tokens.saturating_sub(1) as f64 / first.elapsed().as_secs_f64();
    if a.json {
        outln!(
            "{}",
            json!({"prompt": prompt, "text": reply.text, "finish_reason": reason, "load_ms": info.load_ms,
            "stats": {
                "prompt_tokens": usage.prompt_tokens,
                "cached_tokens": usage.cached_tokens,
                "generated_tokens": usage.generated_tokens,
                "drafted_tokens": usage.drafted_tokens,
                "accepted_tokens": usage.accepted_tokens,
                "first_token_ms": (first - begin).as_secs_f64() * 1e3,
                "tokens_per_second": speed,
            }})
        );
        return Ok(());
    }
    outln!();
    errln!(
        "{}, {speed:.1} tok/s; {} {} guessed, {} of them rightly",
        counted(usage.generated_tokens, "token"),
        usage.drafted_tokens,
        if usage.drafted_tokens == 1 {
            "was"
        } else {
            "were"
        },
        usage.accepted_tokens
    );
    Ok(())
}
