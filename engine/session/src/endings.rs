//! Where replies end besides the model's own ends.

use std::collections::HashSet;
use std::ops::Range;

use ternary_common::chat::Message;
use ternary_common::tokenizer::{ChatTemplate, Tokenizer};
use ternary_infer::Sampling;

/// Holds back text that may be the beginning of a stop text. Special tokens are part of the text
/// here, though they are not shown.
#[derive(Debug, Default)]
pub(crate) struct StopTexts {
    stops: Vec<String>,
    held: String,
    /// Parts of `held` that are special tokens.
    hidden: Vec<Range<usize>>,
    /// The stop text that was reached.
    found: Option<String>,
}

impl StopTexts {
    /// Of a reply that ends at these texts, and where `marks` say that the next turn begins.
    pub fn new(sampling: &Sampling, marks: &TurnMarks) -> Self {
        StopTexts {
            stops: sampling.stop.iter().chain(&marks.text).cloned().collect(),
            ..StopTexts::default()
        }
    }

    /// The stop text that was reached.
    pub fn found(&self) -> Option<&str> {
        self.found.as_deref()
    }

    /// What is held back, when nothing more comes.
    pub fn finish(&mut self) -> String {
        self.give(self.held.len())
    }

    /// Text that may be shown now, and whether a stop text was reached.
    pub fn push(&mut self, text: &str, shown: bool) -> (String, bool) {
        let from = self.held.len();
        self.held += text;
        if !shown && !text.is_empty() {
            self.hidden.push(from..self.held.len());
        }
        let stops = self.stops.iter().filter(|s| !s.is_empty());
        let found = stops.filter_map(|s| Some((self.held.find(s.as_str())?, s)));
        if let Some((at, stop)) = found.min() {
            self.found = Some(stop.clone());
            let text = self.give(at);
            (self.held, self.hidden) = (String::new(), Vec::new());
            return (text, true);
        }
        let keep = (0..=self.held.len())
            .filter(|i| self.held.is_char_boundary(*i))
            .find(|i| {
                let tail = &self.held[*i..];
                tail.is_empty() || self.stops.iter().any(|s| s.starts_with(tail))
            })
            .unwrap_or(self.held.len());
        (self.give(keep), false)
    }

    /// What is to be shown of the first `len` bytes, which are no longer held.
    fn give(&mut self, len: usize) -> String {
        let mut text = String::new();
        let mut at = 0;
        for hidden in &self.hidden {
            text += &self.held[at.min(len)..hidden.start.min(len)];
            at = hidden.end;
        }
        text += &self.held[at.min(len)..len];
        self.held.drain(..len);
        self.hidden.retain_mut(|hidden| {
            let (start, end) = (
                hidden.start.saturating_sub(len),
                hidden.end.saturating_sub(len),
            );
            *hidden = start..end;
            start < end
        });
        text
    }
}

/// How a template begins the turn after a reply. A model that writes it goes on as somebody else,
/// so the reply ends there.
#[derive(Debug, Default)]
pub(crate) struct TurnMarks {
    /// Tokens.
    pub specials: HashSet<u32>,
    /// In templates without special tokens.
    text: Option<String>,
}

impl TurnMarks {
    /// What stands between a reply and the next message.
    pub fn of(template: &ChatTemplate, tokenizer: &Tokenizer) -> Self {
        let words = ["Qxa", "Qxb", "Qxc"];
        let roles = ["user", "assistant", "user"];
        let turns: Vec<Message> = roles
            .iter()
            .zip(words)
            .map(|(role, word)| Message::new(role, word))
            .collect();
        // A template that cannot have three turns marks none.
        let text = template.render(&turns).unwrap_or_default();
        let between = text
            .split_once(words[1])
            .and_then(|(_, rest)| rest.split_once(words[2]));
        let Some((between, _)) = between else {
            return TurnMarks::default();
        };
        let specials = tokenizer.specials_in(between);
        let mark = between.trim_end();
        TurnMarks {
            text: (specials.is_empty() && !mark.trim().is_empty()).then(|| mark.to_owned()),
            specials: specials.into_iter().map(|(_, id)| id).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_texts_are_found_across_tokens_and_never_shown() {
        let mut t = StopTexts {
            stops: vec!["\nA:".to_owned(), "<|user|>\n".to_owned()],
            ..StopTexts::default()
        };
        assert_eq!(t.push("hello", true), ("hello".into(), false));
        assert_eq!(t.push(" there\n", true), (" there".into(), false));
        assert_eq!(t.push("B", true), ("\nB".into(), false));
        assert_eq!(t.push(".\n", true), (".".into(), false));
        // Special tokens are looked for and never shown.
        assert_eq!(t.push("<|user|>", false), ("\n".into(), false));
        assert_eq!(t.push("x", true), ("x".into(), false));
        assert_eq!(t.push("y<|user|>", false), (String::new(), false));
        assert_eq!(t.push("\nA: x", true), (String::new(), true));
    }
}
