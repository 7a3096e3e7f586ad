//! `onebit chat`.

mod input;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use ternary::format::escaped;
use ternary::infer::Sampling;
use ternary::platform::{Interrupt, on_interrupt};
use ternary::session::{Command, Demands, Event, Message, Session};

use self::input::{Input, Read};
use crate::args::Chat;
use crate::output::{errln, outln};
use crate::{model, output};

const HELP: &str = "\
/reset   forget the conversation and start again
/system  show what the model is told first; /system TEXT changes it and starts again
/help    this list
/exit    leave (also /quit or Ctrl-D)
\"\"\"      begins a message of several lines, and ends it
Ctrl-C stops a reply.";

pub fn run(a: &Chat) -> Result<()> {
    // Each session has a seed of its own, and each reply another.
    let sampling = model::sampling(&a.sampling, model::random_seed)?;
    let demands = Demands {
        form: model::form(&a.form)?,
        ..Demands::default()
    };
    let (mut session, info) = model::open(&a.model)?;
    let sampling = sampling.of(&info.sampling);
    if !info.chat && session.loaded()?.chat_template().is_some() {
        bail!(
            "this model's chat template cannot be used; `onebit generate` continues a text without it"
        );
    }
    if !info.chat {
        bail!("this model has no chat template; use `onebit generate` to continue a text");
    }
    let mut talk = Conversation::new(a.system.clone());
    check_template(&mut session, &talk)?;
    let stop = session.stop_handle();
    let replying = Arc::new(AtomicBool::new(false));
    let flag = replying.clone();
    on_interrupt(move |interrupt| {
        if interrupt == Interrupt::Interrupt && flag.load(Ordering::Relaxed) {
            stop.stop();
        } else {
            outln!();
            output::exit(interrupt.exit_code());
        }
    })?;
    outln!(
        "{} — /help lists the commands, /exit leaves, Ctrl-C stops a reply",
        escaped(&info.name)
    );
    let mut input = Input::new();
    let mut seed = sampling.seed;
    loop {
        let text = match input.read()? {
            Read::End => {
                outln!();
                return Ok(());
            }
            Read::Message(text) => text,
            Read::Interrupted => {
                errln!("There is no reply to stop. /exit or Ctrl-D leaves.");
                continue;
            }
            Read::Bad(what) => {
                errln!("error: {what}");
                continue;
            }
        };
        // Some programs put a byte order mark before what they pipe.
        let text = text.trim_start_matches('\u{feff}').to_owned();
        match command(text.trim(), &mut talk) {
            Done::Exit => return Ok(()),
            Done::Handled => continue,
            Done::NoCommand => {}
        }
        talk.messages.push(Message::new("user", text.trim()));
        let sampling = Sampling {
            seed,
            ..sampling.clone()
        };
        seed = seed.wrapping_add(u64::from(a.sampling.seed.is_none()));
        replying.store(true, Ordering::Relaxed);
        let replied = reply(&mut session, &mut talk, sampling, &demands);
        replying.store(false, Ordering::Relaxed);
        replied?;
    }
}

/// A conversation, and what the model is told before it.
struct Conversation {
    system: Option<String>,
    messages: Vec<Message>,
}

impl Conversation {
    fn new(system: Option<String>) -> Self {
        let mut talk = Conversation {
            system,
            messages: Vec::new(),
        };
        talk.reset();
        talk
    }

    fn reset(&mut self) {
        let system = self.system.iter();
        self.messages = system.map(|text| Message::new("system", text)).collect();
    }
}

/// What became of a line that may be a command.
enum Done {
    Exit,
    Handled,
    NoCommand,
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(char::is_alphabetic)
}

fn command(text: &str, talk: &mut Conversation) -> Done {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match (word.to_lowercase().as_str(), rest.trim()) {
        ("", _) => Done::Handled,
        ("/exit" | "/quit" | "/bye", "") => Done::Exit,
        ("/reset" | "/clear", "") => {
            talk.reset();
            Done::Handled
        }
        ("/help" | "/?", "") => {
            outln!("{HELP}");
            Done::Handled
        }
        ("/system", "") => {
            outln!("{}", talk.system.as_deref().unwrap_or("(nothing)"));
            Done::Handled
        }
        ("/system", system) => {
            talk.system = Some(system.to_owned());
            talk.reset();
            Done::Handled
        }
        (word @ ("/exit" | "/quit" | "/bye" | "/reset" | "/clear" | "/help" | "/?"), _) => {
            errln!("{word} takes nothing after it");
            Done::Handled
        }
        // A path or a date may begin with a slash; a command is one word of letters.
        (word, _) if word.strip_prefix('/').is_some_and(is_word) => {
            errln!("there is no command {word}\n{HELP}");
            Done::Handled
        }
        _ => Done::NoCommand,
    }
}

/// A template that cannot write out the first message will write none: the session ends before
/// anything is typed.
fn check_template(session: &mut Session, talk: &Conversation) -> Result<()> {
    let messages = [&talk.messages[..], &[Message::new("user", "Hello")]].concat();
    let loaded = session.loaded()?;
    let template = loaded
        .template
        .as_ref()
        .context("the model has no chat template")?;
    let Err(e) = template.render(&messages) else {
        return Ok(());
    };
    // One that fails altogether says so, not what a system message changes.
    let needs_system = talk.system.is_none() && template.check().is_ok_and(|t| t.needs_system);
    Err(e).context(if needs_system {
        "this model's chat template needs a system message: give it one with --system TEXT"
    } else {
        "this model's chat template cannot be used; `onebit generate` continues a text without it"
    })
}

/// Answer the last message.
///
/// # Errors
/// A template that fails: it would fail again with every message.
fn reply(
    session: &mut Session,
    talk: &mut Conversation,
    sampling: Sampling,
    demands: &Demands,
) -> Result<()> {
    let command = Command::Chat {
        messages: talk.messages.clone(),
        sampling,
        demands: demands.clone(),
    };
    let (mut reply, mut failure, mut dropped) = (String::new(), None, 0);
    pollster::block_on(session.handle(command, &mut |event| match event {
        Event::Token { text } => {
            output::write(&output::printable(&text));
            reply += &text;
        }
        Event::Error { message } => failure = Some(message),
        Event::Finished { stats, .. } => dropped = stats.dropped_messages,
        _ => {}
    }));
    outln!();
    if dropped > 0 {
        // They would be left out again and again, and all the rest read again each time.
        let first = usize::from(talk.system.is_some());
        talk.messages.drain(first..first + dropped);
        let (oldest, are) = match dropped {
            1 => ("message".to_owned(), "is"),
            many => (format!("{many} messages"), "are"),
        };
        errln!("(the context is full: the oldest {oldest} {are} no longer read)");
    }
    match failure {
        Some(message) => {
            // The conversation stays as it was before the message that failed.
            talk.messages.pop();
            if message.starts_with("chat template: ") {
                bail!(message);
            }
            errln!("error: {message}");
        }
        None => talk.messages.push(Message::new("assistant", reply)),
    }
    Ok(())
}
