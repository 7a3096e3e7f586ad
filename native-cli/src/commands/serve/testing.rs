//! What tests have in place of a model: a tokenizer of bytes, and an engine that says what it is
//! asked to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use ternary::infer::Sampling;
use ternary::session::FinishReason;
use ternary::session::service::{Client, Request, TokenLogprob, Update, Usage};
use ternary::tokenizer::{ChatTemplate, Tokenizer};

use super::models::{Card, Ready};
use super::worker::{Engine, Job};

/// A template that tells of tools.
pub const TOOL_TEMPLATE: &str = "{% if tools %}<|system|>{% for t in tools %}{{ t | tojson }}{% endfor %}<|end|>{% endif %}\
    {% for m in messages %}<|{{ 'user' if m.role == 'tool' else m.role }}|>{{ m.content }}\
    {% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}{% if m.role != 'user' or true %}<|end|>{% endif %}{% endfor %}\
    {% if add_generation_prompt %}<|assistant|>{% endif %}";

/// How a stand-in is set up.
pub struct Setup {
    pub template: Option<&'static str>,
    pub context: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            template: Some(ternary_scripted::CHATML),
            context: 512,
        }
    }
}

/// A model of bytes.
pub fn ready(setup: &Setup) -> Ready {
    let tokenizer = ternary_scripted::Tokenizer::byte_level(&["<tool_call>"]);
    let tokenizer = Tokenizer::from_json(&tokenizer.json.to_string()).unwrap();
    let template = setup
        .template
        .map(|source| ChatTemplate::new(source).unwrap());
    let sampling = Sampling::default();
    let card = Card {
        vocab_size: tokenizer.vocab_size(),
        ..Card::default()
    };
    Ready::new(
        tokenizer,
        template,
        setup.context,
        sampling,
        card,
        vec!["poet".into()],
    )
}

/// A token with a text and a probability.
pub fn token(text: &str, id: u32) -> Update {
    Update::Token {
        text: text.into(),
        logprob: Some(TokenLogprob {
            id,
            logprob: -0.25,
            top: vec![(id, -0.25)],
        }),
        id,
    }
}

pub fn finished(text: &str, reason: FinishReason, stop: Option<&str>) -> Update {
    Update::Finished {
        text: text.into(),
        reason,
        usage: Usage::default(),
        stop: stop.map(str::to_owned),
    }
}

/// A request that a [`Parrot`] is answering.
pub struct Speaking {
    request: Request,
    client: Box<dyn Client>,
    /// Letters still to say.
    left: VecDeque<char>,
    said: usize,
}

/// Says what it is told, a letter a step, two requests at a time.
#[derive(Default)]
pub struct Parrot {
    /// What it says; empty: `ok`.
    pub says: String,
    /// Time of a step.
    pub pause: Duration,
    /// Fails at this step.
    pub fails_at: Option<usize>,
    /// Requests whose client went away.
    pub gone: Arc<AtomicUsize>,
    pub steps: usize,
    pub running: Vec<Speaking>,
    pub waiting: VecDeque<Job>,
}

const PARALLEL: usize = 2;

impl Engine for Parrot {
    fn submit(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    fn load_now(&self) -> (usize, usize) {
        (self.running.len(), self.waiting.len())
    }

    fn step(&mut self) -> Result<()> {
        std::thread::sleep(self.pause);
        self.steps += 1;
        if self.fails_at == Some(self.steps) {
            for mut speaking in self.running.drain(..) {
                speaking
                    .client
                    .update(Update::Failed(ternary::Error::NoLogits));
            }
            anyhow::bail!("the device is gone");
        }
        while self.running.len() < PARALLEL
            && let Some(Job {
                request,
                mut client,
            }) = self.waiting.pop_front()
        {
            let logprob = |id: &u32| TokenLogprob {
                id: *id,
                logprob: -1.0,
                top: vec![(*id, -1.0)],
            };
            let scores = request
                .prompt_logprobs
                .map(|_| request.prompt[1..].iter().map(logprob));
            let logprobs = scores.into_iter().flatten().collect();
            client.update(Update::Prompt { logprobs });
            if request.embed {
                client.update(Update::Embedding(vec![0.6, 0.8]));
            }
            let most = request.sampling.max_tokens;
            let says = if self.says.is_empty() {
                "ok"
            } else {
                &self.says
            };
            let says = match &request.adapter {
                Some(adapter) => format!("{adapter}:{says}"),
                None => says.to_owned(),
            };
            self.running.push(Speaking {
                left: says.chars().take(most).collect(),
                request,
                client,
                said: 0,
            });
        }
        let gone = &self.gone;
        self.running.retain_mut(|speaking| {
            if speaking.client.is_gone() {
                gone.fetch_add(1, Ordering::SeqCst);
                return false;
            }
            if let Some(letter) = speaking.left.pop_front() {
                speaking.said += 1;
                let id = u32::from(letter) & 0xff;
                let logprob = speaking.request.logprobs.map(|_| TokenLogprob {
                    id,
                    logprob: -0.5,
                    top: vec![(id, -0.5), (0, -2.0)],
                });
                let text = letter.to_string();
                speaking.client.update(Update::Token { text, logprob, id });
                return true;
            }
            let full = speaking.said >= speaking.request.sampling.max_tokens;
            speaking.client.update(Update::Finished {
                text: String::new(),
                reason: if full {
                    FinishReason::Length
                } else {
                    FinishReason::End
                },
                usage: Usage {
                    prompt_tokens: speaking.request.prompt.len(),
                    generated_tokens: speaking.said,
                    ..Usage::default()
                },
                stop: None,
            });
            false
        });
        Ok(())
    }
}
