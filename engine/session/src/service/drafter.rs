//! Guesses from a second, faster model: another file with the same tokens, or the same one in a
//! coarser bit-map (speculative decoding, Leviathan et al. 2023).

use std::collections::HashMap;

use ternary_infer::{Piece, SequenceId, Sequences};

use super::choice::largest;
use crate::error::Result;

/// What is to be guessed on.
pub(super) struct Wanted<'a> {
    /// The reply's text in the model that answers.
    pub of: SequenceId,
    pub ids: &'a [u32],
    /// Tokens of the guess.
    pub length: usize,
}

/// A model that guesses, with a text for each reply.
pub(super) struct Drafter {
    model: Sequences,
    texts: HashMap<SequenceId, SequenceId>,
}

impl Drafter {
    /// `model` has room for as many texts as the one that answers, each of a whole context.
    pub fn new(model: Sequences) -> Self {
        Drafter {
            model,
            texts: HashMap::new(),
        }
    }

    /// A reply is over.
    pub fn close(&mut self, of: SequenceId) {
        if let Some(text) = self.texts.remove(&of) {
            self.model.close(text);
        }
    }

    /// The likeliest tokens behind each text, one after the other; none where there is no room.
    pub async fn guess(&mut self, wanted: &[Wanted<'_>]) -> Result<Vec<Vec<u32>>> {
        let context = self.model.config().max_seq_len;
        let mut guesses: Vec<Vec<u32>> = vec![Vec::new(); wanted.len()];
        let mut texts = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let known = self.texts.get(&wanted.of).copied();
            let text = match known {
                Some(text) => Some(text),
                None => self
                    .model
                    .open(wanted.ids, context, None)
                    .map(|(text, _)| text),
            };
            if let Some(text) = text {
                self.texts.insert(wanted.of, text);
                let cached = self.model.tokens(text);
                let same = cached
                    .iter()
                    .zip(wanted.ids)
                    .take_while(|(a, b)| a == b)
                    .count();
                // The last token is fed in any case: its logits are not kept.
                let left = same.min(wanted.ids.len().saturating_sub(1));
                self.model.truncate(text, left);
            }
            texts.push(text);
        }
        loop {
            // What each text lacks of its own tokens and its guess.
            let mut pieces: Vec<(usize, SequenceId, Vec<u32>)> = Vec::new();
            let mut room = self.model.rows();
            for (i, wanted) in wanted.iter().enumerate() {
                let (Some(text), true) = (texts[i], guesses[i].len() < wanted.length) else {
                    continue;
                };
                let fed = self.model.tokens(text).len();
                let all = wanted.ids.iter().chain(&guesses[i]);
                let ids: Vec<u32> = all.skip(fed).take(room).copied().collect();
                if ids.is_empty() || fed + ids.len() > context {
                    continue;
                }
                room -= ids.len();
                pieces.push((i, text, ids));
            }
            if pieces.is_empty() {
                return Ok(guesses);
            }
            let step: Vec<Piece> = pieces
                .iter()
                .map(|(_, sequence, ids)| Piece {
                    sequence: *sequence,
                    ids,
                })
                .collect();
            self.model.step(&step).await?;
            let (mut rows, mut ready, mut at) = (Vec::new(), Vec::new(), 0);
            for (i, text, ids) in &pieces {
                at += ids.len();
                let all = wanted[*i].ids.len() + guesses[*i].len();
                if self.model.tokens(*text).len() == all {
                    rows.push(at as u32 - 1);
                    ready.push(*i);
                }
            }
            if rows.is_empty() {
                continue;
            }
            let vocab = self.model.config().vocab_size;
            let logits = self.model.logits(&rows).await?;
            for (i, row) in ready.into_iter().zip(logits.chunks_exact(vocab)) {
                guesses[i].extend(largest(row, 1).first().map(|best| best.0));
            }
        }
    }
}
