//! Loss of a text.

use serde::Serialize;

use super::Model;
use crate::error::{Error, Result};
use ternary_common::data::EvalText;
use ternary_common::tokenizer::Tokenizer;

/// What `onebit eval` reports.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Predicted tokens.
    pub tokens: usize,
    /// Mean negative log-likelihood, nats per token.
    pub loss: f64,
    /// exp(loss).
    pub perplexity: f64,
    /// Total negative log-likelihood in bits over the text's UTF-8 bytes: comparable whatever the
    /// tokenizer.
    pub bits_per_byte: f64,
    /// exp(total nats / words), words being white-space separated with every line end counted as
    /// one, as is usual for WikiText.
    pub word_perplexity: f64,
}

/// Evaluate `text`, see [`evaluate_tokens`].
pub async fn evaluate(
    model: &mut Model,
    tokenizer: &Tokenizer,
    text: &str,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation> {
    let mut all = EvalText::new(tokenizer);
    all.push(&tokenizer.encode(text)?, text);
    evaluate_tokens(model, &all, progress).await
}

/// Evaluate `text`. Windows of the context's length overlap by half, and only the second half of
/// each (all of the first) is scored, so every token is predicted from at least half a context.
pub async fn evaluate_tokens(
    model: &mut Model,
    text: &EvalText,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation> {
    let ids = &text.ids;
    if ids.len() < 2 || text.bytes == 0 {
        return Err(Error::TextTooShort);
    }
    let (context, vocab) = (model.config().max_seq_len, model.config().vocab_size);
    if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
        return Err(Error::ForeignTokenizer { id: *id, vocab });
    }
    let stride = (context / 2).max(1);
    let (mut total, mut count) = (0.0f64, 0usize);
    let mut start = 0;
    loop {
        let end = (start + context).min(ids.len() - 1);
        let window = &ids[start..end];
        // Targets already scored by the window before.
        let skip = if start == 0 { 0 } else { context - stride };
        let mut at = 0;
        model
            .logits(window, &mut |rows| {
                for row in rows.chunks_exact(vocab) {
                    if at >= skip {
                        total += surprise(row, ids[start + at + 1]);
                        count += 1;
                    }
                    at += 1;
                }
            })
            .await?;
        progress(count, ids.len() - 1);
        if end == ids.len() - 1 {
            break;
        }
        start += stride;
    }
    Ok(Evaluation {
        tokens: count,
        loss: total / count as f64,
        perplexity: libm::exp(total / count as f64),
        bits_per_byte: total / std::f64::consts::LN_2 / text.bytes as f64,
        word_perplexity: libm::exp(total / text.words.max(1) as f64),
    })
}

/// −ln of the probability that logits give a token.
pub(crate) fn surprise(logits: &[f32], token: u32) -> f64 {
    let (max, rest) = log_partition(logits);
    rest + f64::from(max - logits[token as usize])
}

/// The largest logit, and ln Σ e^(logit − largest): together ln Σ e^logit.
pub fn log_partition(logits: &[f32]) -> (f32, f64) {
    let max = logits.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
    let sum: f64 = logits.iter().map(|v| libm::exp(f64::from(v - max))).sum();
    (max, libm::log(sum))
}

/// What a model's precision costs, against the same model in another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Predicted tokens.
    pub tokens: usize,
    /// ‖logits − reference logits‖ / ‖reference logits‖ over all positions.
    pub logits_error: f64,
    /// Of the model: exp(mean nats a token).
    pub perplexity: f64,
    /// The same of the reference.
    pub reference_perplexity: f64,
    /// Share of positions at which both think the same token the most likely one.
    pub same_token: f64,
}

/// Tokens that [`compare`] reads from an empty context: their logits are in memory at once.
const COMPARED: usize = 128;

/// Compare the logits of two models that read the same `ids`, in stretches of 128 tokens.
///
/// # Errors
/// Fewer than two tokens, or tokens that a model does not have.
pub async fn compare(
    model: &mut Model,
    reference: &mut Model,
    ids: &[u32],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Comparison> {
    if ids.len() < 2 {
        return Err(Error::TextTooShort);
    }
    let vocab = reference.config().vocab_size;
    let targets = ids.len() - 1;
    let stretch = COMPARED.min(reference.config().max_seq_len);
    let (mut difference, mut norm) = (0.0f64, 0.0f64);
    let (mut nats, mut reference_nats, mut same) = (0.0, 0.0, 0usize);
    let mut wanted = Vec::with_capacity(stretch.min(targets) * vocab);
    let mut done = 0;
    for read in ids[..targets].chunks(stretch) {
        wanted.clear();
        reference
            .logits(read, &mut |rows| wanted.extend_from_slice(rows))
            .await?;
        let mut expected = wanted.chunks_exact(vocab);
        let mut next = ids[done + 1..].iter();
        model
            .logits(read, &mut |rows| {
                for ((row, wanted), next) in
                    rows.chunks_exact(vocab).zip(&mut expected).zip(&mut next)
                {
                    for (a, b) in row.iter().zip(wanted) {
                        difference += f64::from(a - b) * f64::from(a - b);
                        norm += f64::from(*b) * f64::from(*b);
                    }
                    nats += surprise(row, *next);
                    reference_nats += surprise(wanted, *next);
                    same += usize::from(best(row) == best(wanted));
                }
            })
            .await?;
        done += read.len();
        progress(done, targets);
    }
    let mean = |nats: f64| libm::exp(nats / targets as f64);
    Ok(Comparison {
        tokens: targets,
        logits_error: libm::sqrt(difference / norm.max(f64::MIN_POSITIVE)),
        perplexity: mean(nats),
        reference_perplexity: mean(reference_nats),
        same_token: same as f64 / targets as f64,
    })
}

/// The index of the largest logit.
fn best(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
}
