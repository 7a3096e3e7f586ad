//! `onebit chat`.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use ternary_core::session::{Command, Event, Message};

use crate::args::Chat;
use crate::output::outln;
use crate::{model, output};

pub fn run(a: &Chat) -> Result<()> {
    let (mut session, info) = model::open(&a.model)?;
    if !info.chat {
        bail!("this model has no chat template; use `onebit generate` to continue a text");
    }
    let stop = session.stop_handle();
    let replying = Arc::new(AtomicBool::new(false));
    let flag = replying.clone();
    ctrlc::set_handler(move || {
        if flag.load(Ordering::Relaxed) {
            stop.stop();
        } else {
            outln!();
            std::process::exit(130);
        }
    })?;
    outln!(
        "{} — /reset starts again, /exit leaves, Ctrl-C stops a reply",
        ternary_core::format::escaped(&info.name)
    );
    let system = || a.system.iter().map(|s| Message::new("system", s));
    let mut messages: Vec<Message> = system().collect();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        output::write("> ");
        let Some(line) = lines.next().transpose()? else {
            outln!();
            return Ok(());
        };
        match line.trim() {
            "" => continue,
            "/exit" | "/quit" => return Ok(()),
            "/reset" => {
                messages = system().collect();
                continue;
            }
            text => messages.push(Message::new("user", text)),
        }
        let command = Command::Chat {
            messages: messages.clone(),
            sampling: model::sampling(&a.sampling),
        };
        let (mut reply, mut failure, mut dropped) = (String::new(), None, 0);
        replying.store(true, Ordering::Relaxed);
        pollster::block_on(session.handle(command, &mut |event| match event {
            Event::Token { text } => {
                output::write(&text);
                reply += &text;
            }
            Event::Error { message } => failure = Some(message),
            Event::Finished { stats, .. } => dropped = stats.dropped_messages,
            _ => {}
        }));
        replying.store(false, Ordering::Relaxed);
        outln!();
        if dropped > 0 {
            // They would be left out again and again, and all the rest read again each time.
            let first = system().count();
            messages.drain(first..first + dropped);
            eprintln!("(the context is full: the oldest {dropped} messages are no longer read)");
        }
        match failure {
            Some(message) => {
                // The conversation stays as it was before the message that failed.
                messages.pop();
                // It would fail again with every message.
                if message.starts_with("chat template: ") {
                    bail!(message);
                }
                eprintln!("error: {message}");
            }
            None => messages.push(Message::new("assistant", reply)),
        }
    }
}
