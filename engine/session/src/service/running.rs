//! A request that is being answered.

use ternary_common::tokenizer::{TextStream, Tokenizer};
use ternary_infer::{SequenceId, TokenSet};

use super::choice::{Choice, LogProbs};
use super::draft::{Draft, lookup};
use super::request::{Client, Request, Update, Usage};
use crate::endings::{StopTexts, TurnMarks};
use crate::error::{Error, Result};
use crate::protocol::FinishReason;

/// A request with what has been done of it.
pub(super) struct Running {
    pub client: Box<dyn Client>,
    pub sequence: SequenceId,
    /// The adapter's number.
    pub adapter: Option<usize>,
    request: Request,
    /// Prompt and reply.
    pub ids: Vec<u32>,
    /// Of `ids`, those in the cache.
    pub fed: usize,
    /// Guessed tokens of the step that runs.
    pub guessed: Vec<u32>,
    draft: Option<Draft>,
    choice: Choice,
    stream: TextStream,
    texts: StopTexts,
    usage: Usage,
    /// Σ of the prompt's hidden states.
    hidden: Vec<f64>,
    prompt_logprobs: Vec<super::TokenLogprob>,
    context: usize,
}

/// What a request takes to run.
pub(super) struct Setting<'a> {
    pub tokenizer: Option<&'a Tokenizer>,
    pub marks: &'a TurnMarks,
    pub context: usize,
    pub drafts: bool,
}

impl Running {
    pub fn new(
        request: Request,
        client: Box<dyn Client>,
        (sequence, cached): (SequenceId, usize),
        adapter: Option<usize>,
        setting: &Setting,
    ) -> Self {
        let no_marks = TurnMarks::default();
        let marks = if request.in_turns {
            setting.marks
        } else {
            &no_marks
        };
        let stream = match setting.tokenizer {
            Some(tokenizer) if request.goes_on => TextStream::after(tokenizer, &request.prompt),
            _ => TextStream::default(),
        };
        Running {
            client,
            sequence,
            adapter,
            ids: request.prompt.clone(),
            fed: cached,
            guessed: Vec::new(),
            // A constraint's masks are made one after the other, each behind its token.
            draft: (setting.drafts && request.constraint.is_none()).then(Draft::new),
            choice: Choice::new(&request),
            stream,
            texts: StopTexts::new(&request.sampling, marks),
            usage: Usage {
                prompt_tokens: request.prompt.len(),
                cached_tokens: cached,
                ..Usage::default()
            },
            hidden: Vec::new(),
            prompt_logprobs: Vec::new(),
            context: setting.context,
            request,
        }
    }

    /// Tokens that are to be fed.
    pub fn left(&self) -> usize {
        self.ids.len() - self.fed
    }

    /// Whether the prompt has been read.
    pub fn replies(&self) -> bool {
        self.left() == 1 && self.ids.len() > self.request.prompt.len()
    }

    /// Whether hidden states are wanted instead of logits.
    pub fn embeds(&self) -> bool {
        self.request.embed
    }

    /// Whether every row of the prompt is looked at.
    pub fn looks_at_prompt(&self) -> bool {
        self.request.prompt_logprobs.is_some() && self.ids.len() == self.request.prompt.len()
    }

    /// Guess what comes next, `room` tokens at most, from what the text has said. Returns how many
    /// tokens another may guess instead.
    pub fn guess(&mut self, room: usize) -> usize {
        let left = self.request.sampling.max_tokens - self.usage.generated_tokens;
        // The last token is never fed.
        let room = room
            .min(left.saturating_sub(1))
            .min(self.context.saturating_sub(self.ids.len() + 1));
        let length = self.draft.as_ref().map_or(0, |draft| draft.length(room));
        self.guessed = match length {
            0 => Vec::new(),
            length => lookup(&self.ids, length),
        };
        match self.guessed.is_empty() {
            true => length,
            false => 0,
        }
    }

    /// What is guessed is so from now on.
    pub fn guessed(&mut self) {
        self.usage.drafted_tokens += self.guessed.len();
        if let Some(draft) = &mut self.draft {
            draft.made(!self.guessed.is_empty());
        }
    }

    /// Take the logits `[n, vocab]` of prompt rows, the first of which stands at `from`.
    pub fn take_prompt(&mut self, from: usize, logits: &[f32], vocab: usize) {
        let Some(top) = self.request.prompt_logprobs else {
            return;
        };
        for (i, row) in logits.chunks_exact(vocab).enumerate() {
            if let Some(id) = self.request.prompt.get(from + i + 1) {
                self.prompt_logprobs.push(LogProbs::new(row, top).of(*id));
            }
        }
    }

    /// Take hidden states of the prompt; at its end the answer is given.
    pub fn take_hidden(&mut self, rows: &[f32], width: usize) {
        self.hidden.resize(width, 0.0);
        for row in rows.chunks_exact(width) {
            for (sum, value) in self.hidden.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
    }

    /// The mean of the hidden states, of length 1.
    pub fn embedding(&self) -> Vec<f32> {
        let length = self.hidden.iter().map(|v| v * v).sum::<f64>().sqrt();
        let scale = 1.0 / length.max(f64::MIN_POSITIVE);
        self.hidden.iter().map(|v| (v * scale) as f32).collect()
    }

    /// The prompt was read.
    pub fn tell_prompt(&mut self) {
        if self.ids.len() == self.request.prompt.len() {
            let logprobs = std::mem::take(&mut self.prompt_logprobs);
            self.client.update(Update::Prompt { logprobs });
        }
    }

    /// Choose tokens from the logits behind the last token and behind each guessed one, as far as
    /// the guesses hold. Returns why the reply is over, if it is.
    pub fn take_logits(
        &mut self,
        logits: &mut [f32],
        vocab: usize,
        setting: &Setting,
    ) -> Result<Option<FinishReason>> {
        if self.request.sampling.max_tokens == 0 {
            return Ok(Some(FinishReason::Length));
        }
        let guessed = std::mem::take(&mut self.guessed);
        let mut right = 0;
        let mut end = None;
        for (i, logits) in logits.chunks_exact_mut(vocab).enumerate() {
            match self.choose(logits, setting)? {
                Err(reason) => {
                    end = Some(reason);
                    break;
                }
                Ok(id) => {
                    let holds = guessed.get(i) == Some(&id);
                    right += usize::from(holds);
                    end = self.ended();
                    if end.is_some() || !holds {
                        break;
                    }
                }
            }
        }
        if let Some(draft) = &mut self.draft {
            draft.learn(guessed.len(), right);
        }
        self.usage.accepted_tokens += right;
        // What was guessed rightly has its keys and values.
        self.fed += right;
        Ok(end)
    }

    /// Whether the reply may not become longer.
    fn ended(&self) -> Option<FinishReason> {
        if self
            .request
            .constraint
            .as_ref()
            .is_some_and(|c| c.is_complete())
        {
            return Some(FinishReason::End);
        }
        if self.usage.generated_tokens >= self.request.sampling.max_tokens {
            return Some(FinishReason::Length);
        }
        (self.ids.len() >= self.context).then_some(FinishReason::Context)
    }

    /// One token; or why there is none.
    fn choose(
        &mut self,
        logits: &mut [f32],
        setting: &Setting,
    ) -> Result<Result<u32, FinishReason>> {
        let allowed = match &mut self.request.constraint {
            Some(constraint) => Some(constraint.allowed()?),
            None => None,
        };
        let chosen = self.choice.next(logits, &self.ids, allowed.as_ref());
        let Some((id, logprob)) = chosen else {
            // The reply may end, and nothing else: in a vocabulary without a token for that.
            let none = |allowed: TokenSet| !(0..logits.len() as u32).any(|id| allowed.allows(id));
            return match allowed.is_some_and(none) {
                true => Ok(Err(FinishReason::End)),
                false => Err(Error::NoLogits),
            };
        };
        self.usage.generated_tokens += 1;
        let tokenizer = setting.tokenizer;
        let marked = self.request.in_turns && setting.marks.specials.contains(&id);
        if marked || tokenizer.is_some_and(|t| t.is_end(id)) {
            // Without a text, but whoever scores replies counts it.
            if logprob.is_some() {
                let text = String::new();
                self.client.update(Update::Token { text, logprob, id });
            }
            return Ok(Err(FinishReason::End));
        }
        if let Some(constraint) = &mut self.request.constraint {
            constraint.accept(id)?;
        }
        let (text, stopped) = match tokenizer {
            None => (String::new(), false),
            Some(tokenizer) => match tokenizer.special_text(id) {
                Some(special) => self.texts.push(special, self.request.show_specials),
                None => {
                    let text = self.stream.push(tokenizer, id)?;
                    self.texts.push(&text, true)
                }
            },
        };
        self.ids.push(id);
        self.client.update(Update::Token { text, logprob, id });
        Ok(match stopped {
            true => Err(FinishReason::End),
            false => Ok(id),
        })
    }

    /// Tell the end.
    pub fn finish(mut self, reason: FinishReason, setting: &Setting) {
        let rest = match setting.tokenizer {
            Some(tokenizer) if self.texts.found().is_none() => self.stream.finish(tokenizer),
            _ => Ok(String::new()),
        };
        let update = match rest {
            Ok(rest) => Update::Finished {
                text: self.texts.finish() + &rest,
                reason,
                usage: self.usage,
                stop: self.texts.found().map(str::to_owned),
            },
            Err(error) => Update::Failed(error.into()),
        };
        self.client.update(update);
    }
}
