//! `onebit generate`.

use anyhow::{Result, bail};
use serde_json::json;
use ternary_core::session::{Command, Event};

use crate::args::Generate;
use crate::output::outln;
use crate::{model, output};

pub fn run(a: &Generate) -> Result<()> {
    let (mut session, info) = model::open(&a.model)?;
    let stop = session.stop_handle();
    ctrlc::set_handler(move || stop.stop())?;
    let command = Command::Generate {
        prompt: a.prompt.clone(),
        sampling: model::sampling(&a.sampling),
    };
    let (mut text, mut end, mut failure) = (String::new(), None, None);
    pollster::block_on(session.handle(command, &mut |event| match event {
        Event::Token { text: piece } => {
            if !a.json {
                output::write(&piece);
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
        if a.json {
            outln!(
                "{}",
                json!({"prompt": a.prompt, "text": text, "finish_reason": reason, "stats": stats, "load_ms": info.load_ms})
            );
        } else {
            outln!();
            eprintln!(
                "{} tokens, {:.1} tok/s, first token after {:.0} ms",
                stats.generated_tokens, stats.tokens_per_second, stats.first_token_ms
            );
        }
    }
    Ok(())
}
