//! What is asked of a [`Service`](super::Service), and what it answers: plain data that threads can
//! hand to each other.

use ternary_infer::{Constraint, Sampling};

use crate::error::Error;
use crate::protocol::FinishReason;

/// One text to go on with, or to look at.
pub struct Request {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// How tokens are chosen and how many; `max_tokens` 0 only reads the prompt.
    pub sampling: Sampling,
    /// Added to the logits of these ids before anything else; −100 and less forbid.
    pub logit_bias: Vec<(u32, f32)>,
    /// Taken off the logit of every token that the reply has already (OpenAI's
    /// `presence_penalty`).
    pub presence_penalty: f32,
    /// As that, times how often it has it.
    pub frequency_penalty: f32,
    /// Tell the logarithm of every token's probability, and the likeliest so many beside it.
    pub logprobs: Option<usize>,
    /// The same of the prompt's tokens; all but the first have one.
    pub prompt_logprobs: Option<usize>,
    /// Answer with the mean of the prompt's last hidden states, of length 1, instead of a text.
    pub embed: bool,
    /// The reply goes on with the prompt's last word; otherwise it is a message of its own.
    pub goes_on: bool,
    /// The reply is a turn of a conversation: it ends where the next would begin.
    pub in_turns: bool,
    /// Tell special tokens as the text they stand for, as callers need that look for tool calls.
    pub show_specials: bool,
    /// What the reply has to be.
    pub constraint: Option<Box<dyn Constraint>>,
    /// The adapter that answers, by the name it was added with.
    pub adapter: Option<String>,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            prompt: Vec::new(),
            sampling: Sampling::default(),
            logit_bias: Vec::new(),
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logprobs: None,
            prompt_logprobs: None,
            embed: false,
            goes_on: false,
            in_turns: false,
            show_specials: false,
            constraint: None,
            adapter: None,
        }
    }
}

/// A token with the natural logarithm of its probability: under the model, before temperature,
/// penalties and anything else of the request.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub id: u32,
    /// ln p.
    pub logprob: f32,
    /// The likeliest tokens in this place, the likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// Tokens of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: usize,
    /// Of these, how many did not have to be read again.
    pub cached_tokens: usize,
    /// Of the reply; the one that ended it is counted.
    pub generated_tokens: usize,
    /// Drafted for it, and taken.
    pub drafted_tokens: usize,
    /// See `drafted_tokens`.
    pub accepted_tokens: usize,
}

/// What a request is answered with: `Prompt` once, `Token`s or an `Embedding`, then one `Finished`;
/// or `Failed`, after which nothing comes.
#[derive(Debug)]
pub enum Update {
    /// The prompt was read; the next update is not far.
    Prompt {
        /// One of each token but the first, if asked for.
        logprobs: Vec<TokenLogprob>,
    },
    /// A token was chosen. Its text may be empty: of a letter only a part, or the beginning of what
    /// may be a stop text.
    Token {
        /// What can be shown now.
        text: String,
        /// If asked for.
        logprob: Option<TokenLogprob>,
        /// The token.
        id: u32,
    },
    /// The mean of the prompt's last hidden states, of length 1.
    Embedding(Vec<f32>),
    /// The end.
    Finished {
        /// Text that was held back.
        text: String,
        /// Why.
        reason: FinishReason,
        /// What it took.
        usage: Usage,
        /// The stop text that ended it.
        stop: Option<String>,
    },
    /// It cannot be answered.
    Failed(Error),
}

/// Who asked. The service calls it from its own thread.
pub trait Client: Send {
    /// Take an answer; must not wait.
    fn update(&mut self, update: Update);

    /// Whether nobody listens any more: the request ends at the next token.
    fn is_gone(&self) -> bool;
}
