//! What is typed or pasted into a chat: a line editor with history on a terminal, lines elsewhere.

use std::io::{BufRead, IsTerminal};

use anyhow::Result;
use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Completer, Editor, Helper, Highlighter, Hinter};

use crate::output;

/// Opens and closes a message of several lines.
const BLOCK: &str = "\"\"\"";
/// Lines that the history keeps.
const HISTORY: usize = 1000;

/// What came in.
pub enum Read {
    Message(String),
    /// A line that cannot be read, and why; the next one may be.
    Bad(String),
    /// Ctrl-C with nothing to stop: one that was meant for a reply comes here when that has just
    /// ended.
    Interrupted,
    End,
}

/// Goes on to the next line within a block.
#[derive(Completer, Helper, Highlighter, Hinter)]
pub struct Blocks;

impl Validator for Blocks {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        Ok(match is_open(context.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

/// Whether a block has begun and not ended.
fn is_open(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(BLOCK) && (text.len() < 2 * BLOCK.len() || !text.ends_with(BLOCK))
}

/// The text without the marks around it.
fn unquoted(text: &str) -> String {
    let inside = text
        .trim()
        .strip_prefix(BLOCK)
        .and_then(|t| t.strip_suffix(BLOCK));
    inside.unwrap_or(text).to_owned()
}

pub enum Input {
    Terminal(Box<Editor<Blocks, FileHistory>>),
    Lines,
}

impl Input {
    pub fn new() -> Self {
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let editor = terminal.then(|| {
            // Pasted lines are one message: the editor asks the terminal to mark them.
            let config = rustyline::Config::builder().bracketed_paste(true).build();
            Editor::<Blocks, FileHistory>::with_config(config).ok()
        });
        match editor.flatten() {
            Some(mut editor) => {
                editor.set_helper(Some(Blocks));
                // A history that cannot be kept costs the history only.
                let _ = editor.set_max_history_size(HISTORY);
                if let Some(path) = history() {
                    let _ = editor.load_history(&path);
                }
                Input::Terminal(Box::new(editor))
            }
            None => Input::Lines,
        }
    }

    /// The next message.
    pub fn read(&mut self) -> Result<Read> {
        let editor = match self {
            Input::Terminal(editor) => editor,
            Input::Lines => {
                output::write("> ");
                return Ok(lines());
            }
        };
        match editor.readline("> ") {
            Ok(text) => {
                if !text.trim().is_empty() {
                    let _ = editor.add_history_entry(&text);
                    if let Some(path) = history() {
                        let _ = editor.append_history(&path);
                    }
                }
                Ok(Read::Message(unquoted(&text)))
            }
            Err(ReadlineError::Eof) => Ok(Read::End),
            Err(ReadlineError::Interrupted) => Ok(Read::Interrupted),
            Err(e) => Ok(Read::Bad(format!("that line cannot be read: {e}"))),
        }
    }
}

/// Where earlier messages are kept, once its folder is there.
fn history() -> Option<std::path::PathBuf> {
    let folder = ternary::platform::cache_folder()?;
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("chat-history"))
}

/// A line of standard input, or the lines of a block.
fn lines() -> Read {
    let mut text = String::new();
    loop {
        let mut line = Vec::new();
        match std::io::stdin().lock().read_until(b'\n', &mut line) {
            Ok(0) if text.is_empty() => return Read::End,
            // An unfinished block is a message all the same.
            Ok(0) => return Read::Message(text.trim().trim_start_matches(BLOCK).to_owned()),
            Ok(_) => {}
            Err(e) => return Read::Bad(format!("standard input cannot be read: {e}")),
        }
        let Ok(line) = String::from_utf8(line) else {
            return Read::Bad("that line is not UTF-8 text and was not sent".to_owned());
        };
        text += &line;
        if !is_open(&text) {
            return Read::Message(unquoted(text.trim_end_matches(['\n', '\r'])));
        }
    }
}
