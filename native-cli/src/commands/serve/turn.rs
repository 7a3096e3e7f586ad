//! A reply as it comes: text and calls, with the probabilities of its tokens.

use ternary::chat::{ToolCall, ToolReader};
use ternary::session::FinishReason;
use ternary::session::service::{TokenLogprob, Update, Usage};

/// What has come of a reply.
#[derive(Debug, Default, PartialEq)]
pub struct Piece {
    pub text: String,
    /// Of the tokens whose text this is.
    pub logprobs: Vec<TokenLogprob>,
}

/// How a reply ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct End {
    pub calls: Vec<ToolCall>,
    /// It has all the tokens that were asked for, or that there is room for.
    pub cut: bool,
    /// The stop text that ended it.
    pub stop: Option<String>,
    pub usage: Usage,
}

impl End {
    /// OpenAI's word for it.
    pub fn finish_reason(&self) -> &'static str {
        match (self.calls.is_empty(), self.cut) {
            (false, _) => "tool_calls",
            (true, true) => "length",
            (true, false) => "stop",
        }
    }
}

/// A reply being read.
#[derive(Default)]
pub struct Turn {
    reader: Option<ToolReader>,
    pending: Vec<TokenLogprob>,
}

impl Turn {
    /// `reader` finds calls in it.
    pub fn new(reader: Option<ToolReader>) -> Self {
        Turn {
            reader,
            pending: Vec::new(),
        }
    }

    /// Go on with an update: what can be shown, if anything, and the end if it is there.
    pub fn take(&mut self, update: Update) -> (Option<Piece>, Option<End>) {
        match update {
            Update::Token { text, logprob, .. } => {
                self.pending.extend(logprob);
                let text = match &mut self.reader {
                    Some(reader) => reader.push(&text),
                    None => text,
                };
                let piece = (!text.is_empty()).then(|| Piece {
                    text,
                    logprobs: std::mem::take(&mut self.pending),
                });
                (piece, None)
            }
            Update::Finished {
                text,
                reason,
                usage,
                stop,
            } => {
                let (text, calls) = match self.reader.take() {
                    None => (text, Vec::new()),
                    Some(mut reader) => {
                        let shown = reader.push(&text);
                        let (rest, calls) = reader.finish();
                        (shown + &rest, calls)
                    }
                };
                // Tokens of a stop text, and of calls, are not shown.
                if stop.is_some() || !calls.is_empty() {
                    self.pending.clear();
                }
                let logprobs = std::mem::take(&mut self.pending);
                let piece =
                    (!text.is_empty() || !logprobs.is_empty()).then_some(Piece { text, logprobs });
                let cut = matches!(reason, FinishReason::Length | FinishReason::Context);
                (
                    piece,
                    Some(End {
                        calls,
                        cut,
                        stop,
                        usage,
                    }),
                )
            }
            Update::Prompt { .. } | Update::Embedding(_) | Update::Failed(_) => (None, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{finished, token};
    use super::*;

    #[test]
    fn probabilities_go_with_the_text_they_are_of() {
        let mut turn = Turn::default();
        let piece = |turn: &mut Turn, update| turn.take(update).0;
        assert_eq!(piece(&mut turn, token("", 1)), None);
        let both = piece(&mut turn, token("ab", 2)).unwrap();
        assert_eq!((both.text.as_str(), both.logprobs.len()), ("ab", 2));
        assert_eq!(piece(&mut turn, token("", 3)), None);
        let (rest, end) = turn.take(finished("c", FinishReason::Length, None));
        assert_eq!(rest.unwrap().logprobs[0].id, 3);
        assert_eq!(end.unwrap().finish_reason(), "length");
        // Those of a stop text are not shown.
        let mut turn = Turn::default();
        turn.take(token("", 1));
        let (rest, end) = turn.take(finished("", FinishReason::End, Some("x")));
        assert_eq!(rest, None);
        assert_eq!(end.unwrap().finish_reason(), "stop");
    }
}
