//! Questions scored by the likelihood of their answers, as lm-evaluation-harness does it: acc, acc
//! by likelihood a letter, and for ends to guess the share guessed outright and the perplexity.

use serde::Serialize;
use ternary_common::tokenizer::{END_OF_TEXT, Tokenizer};

use crate::error::{Error, Result};
use crate::evaluate::surprise;
use crate::sequences::{Piece, Sequences};

/// A figure and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Its standard error: the sample's deviation over √n.
    pub stderr: f64,
}

impl Estimate {
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let value = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - value) * (v - value)).sum();
        let stderr = match values.len() {
            0 | 1 => 0.0,
            _ => libm::sqrt(squares / (n - 1.0) / n),
        };
        Estimate { value, stderr }
    }
}

/// What questions came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Questions.
    pub questions: usize,
    /// Questions whose context was cut at its beginning to fit the model's.
    pub cut: usize,
    /// Share where the right answer is the likeliest; of ends to guess, where greedy decoding says
    /// it.
    pub acc: Estimate,
    /// The same by likelihood a letter; none of ends to guess.
    pub acc_norm: Option<Estimate>,
    /// exp of the mean nats of an end to guess; none of questions with answers.
    pub perplexity: Option<Estimate>,
}

/// A continuation of a context.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// What comes before.
    pub context: &'a str,
    /// What is scored.
    pub continuation: &'a str,
    /// Letters that its likelihood is divided by for acc_norm.
    pub letters: usize,
}

/// How likely a continuation is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likelihood {
    /// ln p of all of it.
    pub logprob: f64,
    /// Whether each token is the likeliest in its place.
    pub greedy: bool,
    /// Whether the context was cut.
    pub cut: bool,
}

/// Token ids of a context and of what continues it, split where the harness splits them: spaces at
/// the end of the context belong to the continuation, and both are encoded together.
fn split(tokenizer: &Tokenizer, answer: &Answer) -> Result<(Vec<u32>, Vec<u32>)> {
    let context = answer.context.trim_end();
    let spaces = &answer.context[context.len()..];
    let whole = tokenizer.encode(&[context, spaces, answer.continuation].concat())?;
    let mut before = tokenizer.encode(context)?;
    let behind = whole.get(before.len()..).unwrap_or_default().to_vec();
    if before.is_empty() {
        before.extend(tokenizer.id(END_OF_TEXT));
    }
    Ok((before, behind))
}

/// How likely `answer` is, with an adapter of this number or without. Its context is read from the
/// cache where it is there already.
///
/// # Errors
/// Nothing to score, tokens that the model does not have, or more of them than its context.
pub async fn likelihood(
    model: &mut Sequences,
    tokenizer: &Tokenizer,
    answer: &Answer<'_>,
    adapter: Option<usize>,
) -> Result<Likelihood> {
    let (before, behind) = split(tokenizer, answer)?;
    if before.is_empty() || behind.is_empty() {
        return Err(Error::TextTooShort);
    }
    let vocab = model.config().vocab_size;
    if let Some(id) = before
        .iter()
        .chain(&behind)
        .find(|id| **id as usize >= vocab)
    {
        return Err(Error::ForeignTokenizer { id: *id, vocab });
    }
    // The last token is only predicted.
    let all = [before, behind.clone()].concat();
    let read = &all[..all.len() - 1];
    let room = model.config().max_seq_len;
    let cut = read.len().saturating_sub(room);
    let read = &read[cut..];
    if behind.len() > read.len() {
        return Err(Error::ContextFull {
            used: behind.len(),
            room,
        });
    }
    let first = read.len() - behind.len();
    // Rows from the first one that predicts are looked at.
    let known = &read[..(first + 1).min(read.len())];
    let (sequence, cached) = model
        .open(known, read.len(), adapter)
        .ok_or(Error::ContextFull {
            used: read.len(),
            room,
        })?;
    let scored = score_rest(model, sequence, read, cached, first, &behind).await;
    model.close(sequence);
    let (logprob, greedy) = scored?;
    Ok(Likelihood {
        logprob,
        greedy,
        cut: cut > 0,
    })
}

async fn score_rest(
    model: &mut Sequences,
    sequence: crate::SequenceId,
    read: &[u32],
    cached: usize,
    first: usize,
    targets: &[u32],
) -> Result<(f64, bool)> {
    let (vocab, most) = (model.config().vocab_size, model.rows());
    let (mut logprob, mut greedy) = (0.0, true);
    let mut at = cached;
    while at < read.len() {
        let ids = &read[at..read.len().min(at + most)];
        model.step(&[Piece { sequence, ids }]).await?;
        let from = first.max(at);
        let rows: Vec<u32> = (from..at + ids.len())
            .map(|row| (row - at) as u32)
            .collect();
        let logits = match rows.is_empty() {
            true => Vec::new(),
            false => model.logits(&rows).await?,
        };
        for (row, target) in logits.chunks_exact(vocab).zip(&targets[from - first..]) {
            logprob -= surprise(row, *target);
            let own = row[*target as usize];
            // Of equal ones the first is chosen.
            let better = |(id, v): (usize, &f32)| *v > own || (*v == own && id < *target as usize);
            greedy &= !row.iter().enumerate().any(better);
        }
        at += ids.len();
    }
    Ok((logprob, greedy))
}

/// A question's answers, and which one is right.
pub type Asked<'a> = (Vec<Answer<'a>>, usize);

/// Score questions; `progress` is told how many are done.
///
/// # Errors
/// No question, or one that the model cannot read.
pub async fn score(
    model: &mut Sequences,
    tokenizer: &Tokenizer,
    questions: &[Asked<'_>],
    adapter: Option<usize>,
    progress: &mut dyn FnMut(usize),
) -> Result<Score> {
    let (mut acc, mut norm, mut nats) = (Vec::new(), Vec::new(), Vec::new());
    let mut cut = 0;
    for (i, (answers, right)) in questions.iter().enumerate() {
        let mut found = Vec::with_capacity(answers.len());
        for answer in answers {
            found.push(likelihood(model, tokenizer, answer, adapter).await?);
        }
        cut += usize::from(found.iter().any(|likelihood| likelihood.cut));
        let hit = |yes: bool| f64::from(u8::from(yes));
        if let [only] = found[..] {
            acc.push(hit(only.greedy));
            nats.push(-only.logprob);
        } else {
            let best = |score: &dyn Fn(usize) -> f64| {
                // Of equal ones the first, as numpy has it.
                (0..found.len())
                    .rev()
                    .max_by(|a, b| score(*a).total_cmp(&score(*b)))
            };
            let letters = |i: usize| answers[i].letters.max(1) as f64;
            acc.push(hit(best(&|i| found[i].logprob) == Some(*right)));
            norm.push(hit(best(&|i| found[i].logprob / letters(i)) == Some(*right)));
        }
        progress(i + 1);
    }
    if acc.is_empty() {
        return Err(Error::TextTooShort);
    }
    Ok(Score {
        questions: questions.len(),
        cut,
        acc: Estimate::of(&acc),
        acc_norm: (!norm.is_empty()).then(|| Estimate::of(&norm)),
        perplexity: (!nats.is_empty()).then(|| {
            let mean = Estimate::of(&nats);
            let value = libm::exp(mean.value);
            Estimate {
                value,
                // To first order.
                stderr: value * mean.stderr,
            }
        }),
    })
}
