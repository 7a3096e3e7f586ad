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
                        let target = ids[start + at + 1] as usize;
                        let max = row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
                        let sum: f64 = row.iter().map(|v| libm::exp(f64::from(v - max))).sum();
                        total += libm::log(sum) + f64::from(max - row[target]);
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
