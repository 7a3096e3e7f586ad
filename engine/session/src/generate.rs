//! The reply loop: reuse of the KV cache, prefill, decode, stop conditions, figures.

use std::time::Duration;

use super::protocol::{Event, FinishReason, Stats};
use super::{LoadedModel, StopHandle};
use crate::endings::{StopTexts, TurnMarks};
use crate::error::{Error, Result};
use ternary_common::chat::ToolReader;
use ternary_common::platform::{self, Instant};
use ternary_common::tokenizer::{END_OF_TEXT, TextStream};
use ternary_infer::{Ahead, CANDIDATES, Constraint, Sampler, Sampling};
use ternary_model::RECENT;

/// Tokens of a prompt that are read before anybody can stop it: as many as one run takes, then more
/// where that takes no time.
const FIRST_PART: usize = 64;
const SHORT: Duration = Duration::from_millis(100);

/// Distinct tokens among the last of `ids`, for the repetition penalty.
pub(crate) fn recent(ids: &[u32]) -> Vec<u32> {
    let mut out = ids[ids.len().saturating_sub(RECENT)..].to_vec();
    out.sort_unstable();
    out.dedup();
    out
}

/// So many of the likeliest tokens decide what is chosen.
fn wanted(sampling: &Sampling) -> usize {
    match (sampling.temperature, sampling.top_k) {
        (0.0, _) => 1,
        (_, 0) => CANDIDATES,
        (_, top_k) => top_k,
    }
}

/// What is to be answered.
pub(super) struct Prompt {
    pub ids: Vec<u32>,
    /// Messages that were left out.
    pub dropped_messages: usize,
    /// What comes next goes on with the prompt's last word; otherwise it is a message of its own.
    pub goes_on: bool,
    /// The answer is a turn of a conversation.
    pub in_turns: bool,
}

/// How it is to be answered.
pub(super) struct Manner<'a> {
    pub sampling: &'a Sampling,
    /// What the answer has to be.
    pub constraint: Option<Box<dyn Constraint>>,
    /// Finds calls of tools in it.
    pub reader: Option<ToolReader>,
}

/// Answer `prompt`.
pub(super) async fn run(
    loaded: &mut LoadedModel,
    prompt: Prompt,
    manner: Manner<'_>,
    stop: &StopHandle,
    emit: &mut dyn FnMut(Event),
) -> Result<()> {
    let Manner {
        sampling,
        mut constraint,
        mut reader,
    } = manner;
    sampling.validate()?;
    let start = Instant::now();
    let tokenizer = loaded.tokenizer.as_ref().ok_or(Error::NoTokenizer)?;
    let Prompt {
        mut ids,
        dropped_messages,
        goes_on,
        in_turns,
    } = prompt;
    let mut stream = match goes_on {
        true => TextStream::after(tokenizer, &ids),
        false => TextStream::default(),
    };
    let no_marks = TurnMarks::default();
    let marks = if in_turns { &loaded.marks } else { &no_marks };
    let model = &mut loaded.model;
    let context = model.config().max_seq_len;

    if ids.is_empty() {
        // Nothing to continue: begin a document.
        ids.extend(tokenizer.id(END_OF_TEXT));
    }
    if ids.len() >= context {
        return Err(Error::PromptTooLong {
            tokens: ids.len(),
            context,
        });
    }
    // At least one token is fed again, because its logits are not kept.
    let shared = model
        .cached()
        .iter()
        .zip(&ids)
        .take_while(|(a, b)| a == b)
        .count()
        .min(ids.len().saturating_sub(1));
    model.truncate(shared);

    let mut stats = Stats {
        prompt_tokens: ids.len(),
        cached_tokens: shared,
        dropped_messages,
        context_size: context,
        ..Stats::default()
    };
    log::debug!(
        "prompt: {} tokens, {shared} of them in the cache; context {context}; {sampling:?}",
        ids.len()
    );
    let mut sampler = Sampler::new(sampling);
    let mut ahead = Ahead::default();
    let penalty = sampling.repetition_penalty;
    let read_before = model.read_bytes();
    let mut texts = StopTexts::new(sampling, marks);
    let mut fed = shared;
    let mut first_token: Option<Instant> = None;
    let mut part = FIRST_PART;
    let reason = loop {
        // A long prompt is read in parts, between which it can be stopped.
        if ids.len() - fed > part {
            let begun = Instant::now();
            model.feed(&ids[fed..fed + part], &[], 1.0).await?;
            fed += part;
            if begun.elapsed() < SHORT {
                part *= 2;
            }
            platform::yield_now().await;
            if stop.is_set() {
                ids.truncate(fed);
                break FinishReason::Stopped;
            }
            continue;
        }
        loaded.source.check().map_err(|problem| Error::Source {
            name: loaded.source.name(),
            problem,
        })?;
        let chosen = match (&mut constraint, &ids[fed..]) {
            // The token after the last one can be chosen without the host.
            (None, [last]) if model.runs_ahead() => {
                let wanted = sampling.max_tokens - stats.generated_tokens;
                model
                    .feed_ahead(&mut ahead, *last, &mut sampler, wanted)
                    .await?
            }
            (None, next) => {
                let penalized = recent(&ids);
                let candidates = model.feed(next, &penalized, penalty).await?;
                sampler.choose(candidates)
            }
            (Some(constraint), next) => {
                let (penalized, enough) = (recent(&ids), wanted(sampling));
                let allowed = constraint.allowed()?;
                let candidates = model
                    .feed_allowed(next, &penalized, penalty, &allowed, enough)
                    .await?;
                if candidates.is_empty() {
                    // The reply may end, and nothing else: in a vocabulary without a token for
                    // that.
                    break FinishReason::End;
                }
                sampler.choose(candidates)
            }
        };
        fed = ids.len();
        let id = chosen.ok_or(Error::NoLogits)?;
        stats.generated_tokens += 1;
        let now = Instant::now();
        if let Some(first) = first_token {
            let seconds = (now - first).as_secs_f64();
            stats.tokens_per_second = (stats.generated_tokens - 1) as f64 / seconds.max(1e-9);
        } else {
            first_token = Some(now);
            stats.first_token_ms = (now - start).as_secs_f64() * 1e3;
        }
        if tokenizer.is_end(id) || marks.specials.contains(&id) {
            break FinishReason::End;
        }
        let (text, stopped) = match tokenizer.special_text(id) {
            // Some models' calls begin with special tokens.
            Some(special) => texts.push(special, reader.is_some()),
            None => texts.push(&stream.push(tokenizer, id)?, true),
        };
        let text = match &mut reader {
            Some(reader) => reader.push(&text),
            None => text,
        };
        if !text.is_empty() {
            emit(Event::Token { text });
        }
        ids.push(id);
        if stopped {
            break FinishReason::End;
        }
        if let Some(constraint) = &mut constraint {
            constraint.accept(id)?;
            if constraint.is_complete() {
                break FinishReason::End;
            }
        }
        if stats.generated_tokens >= sampling.max_tokens {
            break FinishReason::Length;
        }
        if ids.len() >= context {
            break FinishReason::Context;
        }
        platform::yield_now().await;
        if stop.is_set() {
            break FinishReason::Stopped;
        }
    };
    let mut rest = texts.finish() + &stream.finish(tokenizer)?;
    let mut calls = Vec::new();
    if let Some(mut reader) = reader {
        rest = reader.push(&rest);
        let (held, found) = reader.finish();
        rest += &held;
        calls = found;
    }
    if !rest.is_empty() {
        emit(Event::Token { text: rest });
    }
    if !calls.is_empty() {
        emit(Event::ToolCalls { calls });
    }
    stats.context_used = ids.len();
    log::debug!(
        "reply: {} tokens ({reason:?}), {:.1} tok/s, the first after {:.0} ms; {} bytes read back",
        stats.generated_tokens,
        stats.tokens_per_second,
        stats.first_token_ms,
        model.read_bytes() - read_before
    );
    emit(Event::Finished { reason, stats });
    Ok(())
}
