//! A model that answers many requests at once: what `onebit serve` is built on.
//!
//! Every step takes the next token of each running reply, and pieces of the prompts that are still
//! being read, through the model together. On the CPU a request's text is the same to the bit
//! whatever else runs.

mod choice;
mod draft;
mod drafter;
mod request;
mod running;
#[cfg(test)]
mod tests;

pub use request::{Client, Request, TokenLogprob, Update, Usage};

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ternary_common::bytes::ByteSource;
use ternary_common::platform::Instant;
use ternary_common::tokenizer::{ChatTemplate, END_OF_TEXT, Tokenizer};
use ternary_core::config::CachePrecision;
use ternary_formats::adapter::Adapter;
use ternary_formats::onebit::OneBit;
use ternary_infer::{Asked, Piece, Sampling, Score, SequenceOptions, Sequences};

use crate::context::shortened;
use crate::endings::TurnMarks;
use crate::error::{Error, Result};
use crate::open::{self, Opened};
use crate::protocol::{DeviceChoice, FinishReason, ModelInfo};
use drafter::{Drafter, Wanted};
use running::{Running, Setting};

/// Tokens of prompts in a step that also has replies: these should not wait for long.
const PIECE: usize = 64;
/// Rows of replies in a step that guesses.
const GUESSING: usize = 8;
/// Prompt rows whose logits are held at the same time.
const LOOKED_AT: usize = 16;

/// How a [`Service`] is set up.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Where it runs.
    pub device: DeviceChoice,
    /// CPU threads; 0 = all.
    pub threads: usize,
    /// Tokens that prompt and reply of one request may have; without, as many as the model has and
    /// memory allows.
    pub context: Option<usize>,
    /// Precision of keys and values.
    pub cache: CachePrecision,
    /// Requests that are answered at the same time; more wait.
    pub parallel: usize,
    /// Guess tokens from what a text has said before and check several in one step; the text stays
    /// the same.
    pub drafts: bool,
}

/// A model with the requests it is answering. It does nothing by itself: call [`Service::step`]
/// until it is idle.
pub struct Service {
    sequences: Sequences,
    source: Rc<dyn ByteSource>,
    file: OneBit,
    info: ModelInfo,
    tokenizer: Option<Tokenizer>,
    template: Option<ChatTemplate>,
    marks: TurnMarks,
    /// Names by number.
    adapters: Vec<String>,
    waiting: VecDeque<(Request, Box<dyn Client>)>,
    running: Vec<Running>,
    /// The adapter of the last step.
    turn: Option<usize>,
    drafter: Option<Drafter>,
    options: ServiceOptions,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// What a request takes to run; a macro, because only some fields are borrowed.
macro_rules! setting {
    ($self:ident) => {
        Setting {
            tokenizer: $self.tokenizer.as_ref(),
            marks: &$self.marks,
            context: $self.info.context,
            drafts: $self.options.drafts,
        }
    };
}

/// Part of a step: a running request, with rows of the step from `first` on.
struct Part {
    running: usize,
    first: u32,
    /// Of the request's tokens and guesses.
    ids: Vec<u32>,
    /// The position of its first token.
    from: usize,
    /// Whether the last of its tokens is among them.
    whole: bool,
}

impl Service {
    /// Load a `.1bit`.
    ///
    /// # Errors
    /// A file that is no model, or one that does not fit the memory.
    pub async fn load(source: Rc<dyn ByteSource>, options: &ServiceOptions) -> Result<Self> {
        let since = Instant::now();
        let wanted = open::Wanted {
            device: options.device,
            threads: options.threads,
            context: options.context,
            cache_limit: None,
            cache: options.cache,
        };
        let Opened {
            file,
            tokenizer,
            template,
            marks,
            backend,
            device_reason,
            context,
            plan,
            fits,
        } = open::open(source.as_ref(), &wanted).await?;
        fits?;
        let parallel = options.parallel.max(1);
        // What others than the first may take: half of what is left.
        let left = backend
            .limits()
            .total
            .map(|all| all.saturating_sub(plan.total()) / 2);
        let token = (plan.cache_bytes / context.max(1) as u64).max(1);
        let others = left.map_or(usize::MAX, |bytes| (bytes / token) as usize);
        let tokens = context + others.min(context * (parallel - 1));
        if tokens < context * parallel {
            log::warn!(
                "memory holds keys and values of {tokens} tokens, fewer than {parallel} requests of {context} need: some may wait"
            );
        }
        let sequences = Sequences::load(
            backend,
            &shortened(&file, context),
            source.as_ref(),
            SequenceOptions {
                sequences: parallel,
                tokens,
                cache: options.cache,
            },
            &mut |_| {},
        )
        .await?;
        let info = open::Described {
            file: &file,
            source: source.as_ref(),
            context,
            weight_bytes: sequences.weight_bytes(),
            cache_bytes: sequences.cache_bytes(),
            chat: template.is_some(),
            device: sequences.device(),
            device_reason,
            since,
        }
        .info()?;
        Ok(Service {
            marks,
            sequences,
            source,
            file,
            info,
            tokenizer,
            template,
            adapters: Vec::new(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            turn: None,
            drafter: None,
            options: options.clone(),
        })
    }

    /// Have another model guess where a text says nothing new: a smaller one with the same tokens,
    /// or the same one in a coarser bit-map. Texts stay the same.
    ///
    /// # Errors
    /// A model with other tokens, and what loading says.
    pub async fn draft_with(&mut self, source: Rc<dyn ByteSource>) -> Result<()> {
        let context = self.info.context;
        let wanted = open::Wanted {
            device: self.options.device,
            threads: self.options.threads,
            context: None,
            cache_limit: None,
            cache: self.options.cache,
        };
        let opened = open::open(source.as_ref(), &wanted).await?;
        opened.fits?;
        let (own, other) = (&self.file.metadata, &opened.file.metadata);
        if own.config.vocab_size != other.config.vocab_size || own.tokenizer != other.tokenizer {
            return Err(Error::ForeignDraft {
                name: source.name(),
            });
        }
        let context = context.min(opened.context);
        let parallel = self.options.parallel.max(1);
        let model = Sequences::load(
            opened.backend,
            &shortened(&opened.file, context),
            source.as_ref(),
            SequenceOptions {
                sequences: parallel,
                tokens: context * parallel,
                cache: self.options.cache,
            },
            &mut |_| {},
        )
        .await?;
        self.options.drafts = true;
        self.drafter = Some(Drafter::new(model));
        Ok(())
    }

    /// Have an adapter that requests can ask for.
    ///
    /// # Errors
    /// It belongs to another model.
    pub async fn add_adapter(&mut self, name: &str, adapter: Adapter) -> Result<()> {
        let source = self.source.as_ref();
        self.sequences
            .add_adapter(&adapter, &self.file, source)
            .await?;
        self.adapters.push(name.to_owned());
        Ok(())
    }

    /// What was loaded.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// None in a file without one: prompts are tokens then, and replies have no text.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// None in a file without one, or with one that cannot be used.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// Names of the adapters.
    pub fn adapters(&self) -> &[String] {
        &self.adapters
    }

    /// Tokens that prompt and reply of one request may have.
    pub fn context(&self) -> usize {
        self.info.context
    }

    /// Take a request; it is answered by and by, first come, first served. One that cannot be
    /// answered is told at once.
    pub fn submit(&mut self, mut request: Request, mut client: Box<dyn Client>) {
        if request.prompt.is_empty() {
            // Nothing to continue: begin a document.
            let begin = self.tokenizer.as_ref().and_then(|t| t.id(END_OF_TEXT));
            request.prompt.extend(begin);
        }
        match self.check(&request) {
            Ok(()) => self.waiting.push_back((request, client)),
            Err(error) => client.update(Update::Failed(error)),
        }
    }

    fn check(&self, request: &Request) -> Result<()> {
        let only_read = request.embed || request.sampling.max_tokens == 0;
        Sampling {
            max_tokens: request.sampling.max_tokens.max(1),
            ..request.sampling.clone()
        }
        .validate()?;
        let (tokens, context) = (request.prompt.len(), self.context());
        if tokens == 0 {
            return Err(ternary_infer::Error::NoTokens.into());
        }
        if tokens + usize::from(!only_read) > context {
            return Err(Error::PromptTooLong { tokens, context });
        }
        let vocab = self.info.config.vocab_size;
        let biased = request.logit_bias.iter().map(|(id, _)| id);
        let mut ids = request.prompt.iter().chain(biased);
        if let Some(id) = ids.find(|id| **id as usize >= vocab) {
            return Err(ternary_infer::Error::UnknownToken { id: *id, vocab }.into());
        }
        match &request.adapter {
            Some(name) => self.adapter(name).map(|_| ()),
            None => Ok(()),
        }
    }

    /// The number of an adapter.
    fn adapter(&self, name: &str) -> Result<usize> {
        let number = self.adapters.iter().position(|known| known == name);
        number.ok_or_else(|| Error::UnknownAdapter {
            name: name.to_owned(),
            known: self.adapters.join(", "),
        })
    }

    /// Score questions by the likelihood of their answers, with an adapter or without; `progress`
    /// is told how many are done. Requests wait meanwhile.
    ///
    /// # Errors
    /// A model without a tokenizer, an unknown adapter, or questions that cannot be scored.
    pub async fn score(
        &mut self,
        questions: &[Asked<'_>],
        adapter: Option<&str>,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Score> {
        let adapter = adapter.map(|name| self.adapter(name)).transpose()?;
        let tokenizer = self.tokenizer.as_ref().ok_or(Error::NoTokenizer)?;
        let model = &mut self.sequences;
        Ok(ternary_infer::score(model, tokenizer, questions, adapter, progress).await?)
    }

    /// Requests being answered, and requests that wait.
    pub fn load_now(&self) -> (usize, usize) {
        (self.running.len(), self.waiting.len())
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.load_now() == (0, 0)
    }

    /// One pass through the model: a token for every running reply, and a piece of the prompts that
    /// are being read.
    ///
    /// # Errors
    /// The device failed. Every request was told.
    pub async fn step(&mut self) -> Result<()> {
        self.leave();
        self.admit();
        match self.pass().await {
            Ok(ended) => {
                self.end(ended);
                Ok(())
            }
            Err(error) => {
                let error = Arc::new(error);
                while !self.running.is_empty() {
                    let mut running = self.close(0);
                    let told = Error::Shared(error.clone());
                    running.client.update(Update::Failed(told));
                }
                match self.sequences.is_lost() {
                    true => Err(Error::Shared(error)),
                    false => Ok(()),
                }
            }
        }
    }

    async fn pass(&mut self) -> Result<Vec<(usize, Result<FinishReason>)>> {
        if !self.take_turn() {
            return Ok(Vec::new());
        }
        self.guess().await?;
        let parts = self.parts();
        self.run(&parts).await
    }

    /// Forget requests that nobody listens to any more.
    fn leave(&mut self) {
        self.waiting.retain(|(_, client)| !client.is_gone());
        for at in (0..self.running.len()).rev() {
            if self.running[at].client.is_gone() {
                self.close(at);
            }
        }
    }

    /// Take a request out and free what it had.
    fn close(&mut self, at: usize) -> Running {
        let running = self.running.remove(at);
        self.sequences.close(running.sequence);
        if let Some(drafter) = &mut self.drafter {
            drafter.close(running.sequence);
        }
        running
    }

    /// Begin with the requests that waited longest, as far as there is room.
    fn admit(&mut self) {
        while let Some((request, _)) = self.waiting.front() {
            let adapter = request
                .adapter
                .as_deref()
                .and_then(|name| self.adapter(name).ok());
            // What is looked at row by row is read from its beginning.
            let whole = request.embed || request.prompt_logprobs.is_some();
            let known = if whole { &[][..] } else { &request.prompt[..] };
            let most = request
                .prompt
                .len()
                .saturating_add(request.sampling.max_tokens);
            let Some(opened) = self.sequences.open(known, most, adapter) else {
                break;
            };
            let Some((request, client)) = self.waiting.pop_front() else {
                break;
            };
            let running = Running::new(request, client, opened, adapter, &setting!(self));
            self.running.push(running);
        }
    }

    /// Whose adapter the next step has: that of some requests, in turn with the others'. Whether
    /// there is any request.
    fn take_turn(&mut self) -> bool {
        let adapters = || self.running.iter().map(|running| running.adapter);
        let later = adapters().filter(|adapter| *adapter > self.turn).min();
        let turn = later.or_else(|| adapters().min());
        if let Some(turn) = turn {
            self.turn = turn;
        }
        turn.is_some()
    }

    /// Guess on the replies of the next step.
    async fn guess(&mut self) -> Result<()> {
        let turn = self.turn;
        let replies = |running: &&mut Running| running.adapter == turn && running.replies();
        let count = self.running.iter_mut().filter(replies).count();
        // Replies have a row each in any case; with more of them guessing does not pay.
        let room = (GUESSING / count.max(1)).saturating_sub(1);
        let mut without: Vec<(&mut Running, usize)> = Vec::new();
        for running in self.running.iter_mut().filter(replies) {
            match running.guess(room) {
                0 => running.guessed(),
                length => without.push((running, length)),
            }
        }
        if let Some(drafter) = &mut self.drafter {
            let wanted: Vec<Wanted> = without
                .iter()
                .map(|(running, length)| Wanted {
                    of: running.sequence,
                    ids: &running.ids,
                    length: *length,
                })
                .collect();
            let guesses = match wanted.is_empty() {
                true => Vec::new(),
                false => drafter.guess(&wanted).await?,
            };
            for ((running, _), guess) in without.iter_mut().zip(guesses) {
                running.guessed = guess;
            }
        }
        for (running, _) in without {
            running.guessed();
        }
        Ok(())
    }

    /// What the next step is made of.
    fn parts(&mut self) -> Vec<Part> {
        let turn = self.turn;
        let own = |running: &Running| running.adapter == turn;
        let replies = self.running.iter().filter(|r| own(r) && r.replies());
        let taken: usize = replies.map(|r| 1 + r.guessed.len()).sum();
        let most = self.sequences.rows();
        let mut prompts = match taken {
            0 => most,
            taken => PIECE.min(most.saturating_sub(taken)),
        };
        let mut parts: Vec<Part> = Vec::new();
        let mut first = 0;
        for (i, running) in self.running.iter_mut().enumerate() {
            if !own(running) {
                continue;
            }
            let mut count = running.left();
            if !running.replies() {
                count = count.min(prompts);
                prompts -= count;
            }
            if count == 0 {
                continue;
            }
            let from = running.fed;
            let whole = count == running.left();
            let mut ids = running.ids[from..from + count].to_vec();
            if whole {
                ids.extend(&running.guessed);
            }
            let rows = ids.len() as u32;
            parts.push(Part {
                running: i,
                first,
                ids,
                from,
                whole,
            });
            first += rows;
        }
        parts
    }

    /// One step; which requests are over, and why.
    async fn run(&mut self, parts: &[Part]) -> Result<Vec<(usize, Result<FinishReason>)>> {
        let pieces: Vec<Piece> = parts
            .iter()
            .map(|part| Piece {
                sequence: self.running[part.running].sequence,
                ids: &part.ids,
            })
            .collect();
        self.sequences.step(&pieces).await?;
        let vocab = self.info.config.vocab_size;
        let mut ended = Vec::new();
        // Parts whose next token is chosen, with the rows it is chosen from.
        let mut choosing: Vec<(&Part, usize)> = Vec::new();
        let mut rows: Vec<u32> = Vec::new();
        for part in parts {
            let running = &mut self.running[part.running];
            let all = part.first..part.first + part.ids.len() as u32;
            if running.embeds() {
                let all: Vec<u32> = all.collect();
                let hidden = self.sequences.hidden(&all).await?;
                running.take_hidden(&hidden, self.info.config.hidden_size);
            } else if running.looks_at_prompt() {
                let all: Vec<u32> = all.clone().collect();
                for (i, rows) in all.chunks(LOOKED_AT).enumerate() {
                    let logits = self.sequences.logits(rows).await?;
                    running.take_prompt(part.from + i * LOOKED_AT, &logits, vocab);
                }
            }
            let running = &mut self.running[part.running];
            running.fed += part.ids.len() - running.guessed.len();
            if !part.whole {
                continue;
            }
            running.tell_prompt();
            if running.embeds() {
                let embedding = running.embedding();
                running.client.update(Update::Embedding(embedding));
                ended.push((part.running, Ok(FinishReason::End)));
                continue;
            }
            let wanted = running.guessed.len() + 1;
            choosing.push((part, wanted));
            let end = part.first + part.ids.len() as u32;
            rows.extend(end - wanted as u32..end);
        }
        let mut logits = match rows.is_empty() {
            true => Vec::new(),
            false => self.sequences.logits(&rows).await?,
        };
        let setting = setting!(self);
        let mut rest = &mut logits[..];
        for (part, wanted) in choosing {
            let (own, later) = std::mem::take(&mut rest).split_at_mut(wanted * vocab);
            rest = later;
            let running = &mut self.running[part.running];
            match running.take_logits(own, vocab, &setting) {
                Ok(None) => {}
                Ok(Some(reason)) => ended.push((part.running, Ok(reason))),
                Err(error) => ended.push((part.running, Err(error))),
            }
            self.sequences.truncate(running.sequence, running.fed);
        }
        Ok(ended)
    }

    /// Tell the requests that are over, and free what they had.
    fn end(&mut self, mut ended: Vec<(usize, Result<FinishReason>)>) {
        ended.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        for (at, how) in ended {
            let mut running = self.close(at);
            match how {
                Ok(reason) => running.finish(reason, &setting!(self)),
                Err(error) => running.client.update(Update::Failed(error)),
            }
        }
    }
}
