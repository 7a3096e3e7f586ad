//! `onebit generate`.

mod drafted;

use std::io::IsTerminal;

use anyhow::{Result, bail};
use serde_json::json;
use ternary::platform::on_interrupt;
use ternary::session::{Command, Event, FinishReason};
use ternary::words::counted;

use crate::args::Generate;
use crate::output::{errln, outln};
use crate::{model, output};

pub fn run(a: &Generate) -> Result<()> {
    let sampling = model::sampling(&a.sampling, || 0)?;
    let prompt = match (&a.prompt, &a.prompt_file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(path)) => model::read_text(path)?,
        (None, None) => String::new(),
    };
    if let Some(draft) = &a.draft {
        return drafted::run(a, &prompt, &sampling, draft);
    }
    let form = model::form(&a.form)?;
    let has_form = form.is_some();
    let (mut session, info) = model::open(&a.model)?;
    let sampling = sampling.of(&info.sampling);
    let stop = session.stop_handle();
    on_interrupt(move |_| stop.stop())?;
    let command = Command::Generate {
        prompt: prompt.clone(),
        sampling,
        form,
    };
    let terminal = std::io::stdout().is_terminal();
    let (mut text, mut end, mut failure) = (String::new(), None, None);
    pollster::block_on(session.handle(command, &mut |event| match event {
        Event::Token { text: piece } => {
            if !a.json {
                // A file gets every byte.
                match terminal {
                    true => output::write(&output::printable(&piece)),
                    false => output::write(&piece),
                }
            }
            text += &piece;
        }
        Event::Finished { reason, stats } => end = Some((reason, stats)),
        Event::Error { message } => failure = Some(message),
        _ => {}
    }));
    if let Some(message) = failure {
        bail!(message);
    }
    if let Some((reason, stats)) = end {
        if !a.json {
            outln!();
        }
        match reason {
            FinishReason::Length if has_form => {
                errln!("the text ends before its form is complete; --max-tokens allows more");
            }
            FinishReason::Context if has_form => {
                errln!(
                    "the text ends before its form is complete: there is no room for more in the context"
                );
            }
            _ => {}
        }
        if a.json {
            outln!(
                "{}",
                json!({"prompt": prompt, "text": text, "finish_reason": reason,
                    "stats": output::snake_case(output::json(&stats)?), "load_ms": info.load_ms})
            );
        } else {
            errln!(
                "{}, {:.1} tok/s, first token after {:.0} ms{}",
                counted(stats.generated_tokens, "token"),
                stats.tokens_per_second,
                stats.first_token_ms,
                ended(reason, stats.context_size)
            );
        }
    }
    Ok(())
}

/// Why a text ends, where neither the model nor --max-tokens ended it.
fn ended(reason: FinishReason, context: usize) -> String {
    match reason {
        FinishReason::Context => {
            format!("; the context of {} is full", counted(context, "token"))
        }
        _ => String::new(),
    }
}
