//! The reply loop: reuse of the KV cache, prefill, decode, stop conditions, figures.

use super::protocol::{Event, FinishReason, Stats};
use super::{Loaded, StopHandle, no_tokenizer};
use crate::error::{Error, Result};
use crate::infer::{Sampler, Sampling};
use crate::model::RECENT;
use crate::platform::{self, Instant};
use crate::tokenizer::{END_OF_TEXT, TextStream};

/// Distinct tokens among the last of `ids`, for the repetition penalty.
fn recent(ids: &[u32]) -> Vec<u32> {
    let mut out = ids[ids.len().saturating_sub(RECENT)..].to_vec();
    out.sort_unstable();
    out.dedup();
    out
}

/// Holds back text that may be the beginning of a stop text.
struct StopTexts<'a> {
    stops: &'a [String],
    held: String,
}

impl StopTexts<'_> {
    /// Text that may be shown now, and whether a stop text was reached.
    fn push(&mut self, text: &str) -> (String, bool) {
        self.held += text;
        let found = self
            .stops
            .iter()
            .filter(|s| !s.is_empty())
            .filter_map(|s| self.held.find(s.as_str()))
            .min();
        if let Some(at) = found {
            let shown = self.held[..at].to_owned();
            self.held.clear();
            return (shown, true);
        }
        let keep = (0..=self.held.len())
            .filter(|i| self.held.is_char_boundary(*i))
            .find(|i| {
                let tail = &self.held[*i..];
                tail.is_empty() || self.stops.iter().any(|s| s.starts_with(tail))
            })
            .unwrap_or(self.held.len());
        let held = self.held.split_off(keep);
        (std::mem::replace(&mut self.held, held), false)
    }
}

/// Answer the prompt that begins with `ids`, for which so many messages were left out.
pub(super) async fn run(
    loaded: &mut Loaded,
    (mut ids, dropped_messages): (Vec<u32>, usize),
    sampling: &Sampling,
    stop: &StopHandle,
    emit: &mut dyn FnMut(Event),
) -> Result<()> {
    sampling.validate()?;
    let start = Instant::now();
    let tokenizer = loaded.tokenizer.as_ref().ok_or_else(no_tokenizer)?;
    let model = &mut loaded.model;
    let context = model.config().max_seq_len;

    if ids.is_empty() {
        // Nothing to continue: begin a document.
        ids.extend(tokenizer.id(END_OF_TEXT));
    }
    if ids.len() >= context {
        return Err(Error::Request(format!(
            "the prompt takes {} tokens; the model's context of {context} leaves no room for a reply. Shorten it or start a new conversation",
            ids.len()
        )));
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
    let mut sampler = Sampler::new(sampling);
    let mut stream = TextStream::default();
    let mut texts = StopTexts {
        stops: &sampling.stop,
        held: String::new(),
    };
    let mut fed = shared;
    let mut first_token: Option<Instant> = None;
    let reason = loop {
        let penalized = recent(&ids);
        let candidates = model
            .feed(&ids[fed..], &penalized, sampling.repetition_penalty)
            .await?;
        fed = ids.len();
        let id = sampler.choose(candidates).ok_or_else(|| {
            Error::Request("the model gave no valid logits; its file may be damaged".into())
        })?;
        stats.generated_tokens += 1;
        let now = Instant::now();
        if let Some(first) = first_token {
            let seconds = (now - first).as_secs_f64();
            stats.tokens_per_second = (stats.generated_tokens - 1) as f64 / seconds.max(1e-9);
        } else {
            first_token = Some(now);
            stats.first_token_ms = (now - start).as_secs_f64() * 1e3;
        }
        if tokenizer.is_end(id) {
            break FinishReason::End;
        }
        let (text, stopped) = texts.push(&stream.push(tokenizer, id)?);
        if !text.is_empty() {
            emit(Event::Token { text });
        }
        ids.push(id);
        if stopped {
            break FinishReason::End;
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
    let rest = texts.held + &stream.finish(tokenizer)?;
    if !rest.is_empty() {
        emit(Event::Token { text: rest });
    }
    stats.context_used = ids.len();
    emit(Event::Finished { reason, stats });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_texts_are_found_across_tokens_and_never_shown() {
        let stops = ["\nA:".to_owned()];
        let mut t = StopTexts {
            stops: &stops,
            held: String::new(),
        };
        assert_eq!(t.push("hello"), ("hello".into(), false));
        assert_eq!(t.push(" there\n"), (" there".into(), false));
        assert_eq!(t.push("B"), ("\nB".into(), false));
        assert_eq!(t.push(".\n"), (".".into(), false));
        assert_eq!(t.push("A: x"), (String::new(), true));
    }
}
