//! Steps of a text that follow one another on the device: each begins with the token that the one
//! before chose there, and the host learns of it while the next ones run.

use std::collections::VecDeque;

use crate::error::Result;
use crate::model::Model;
use crate::sampler::Sampler;
use ternary_backend::{Later, STEPS_AHEAD, elements};
use ternary_model::RECENT;
use ternary_model::program::RunParams;

/// Steps that were queued, and whose tokens are still to come. What is left of them at a text's end
/// is forgotten: nobody counts on the keys and values that they wrote.
#[derive(Default)]
pub struct Ahead {
    tokens: VecDeque<Later>,
}

impl std::fmt::Debug for Ahead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ahead({})", self.tokens.len())
    }
}

impl Model {
    /// Whether [`Model::feed_ahead`] is the faster way: the device is one that runs are queued on.
    pub fn runs_ahead(&self) -> bool {
        self.backend.queues()
    }

    /// Append the text's last token `id` to the context, and give the one that `sampler` chooses
    /// next; none where no logit is a number. Before it is waited for, steps of up to `wanted`
    /// tokens, this one included, are queued. The text's other calls have the same `ahead` and
    /// `sampler`, and nothing else is fed between them.
    pub async fn feed_ahead(
        &mut self,
        ahead: &mut Ahead,
        id: u32,
        sampler: &mut Sampler,
        wanted: usize,
    ) -> Result<Option<u32>> {
        self.check(&[id])?;
        let begun = self.cached.len();
        let room = self.config.max_seq_len - begun;
        let most = wanted.clamp(1, STEPS_AHEAD + 1).min(room);
        let step = self.chained()?;
        while ahead.tokens.len() < most {
            let pos = begun + ahead.tokens.len();
            match self.make_room(pos + 1).await {
                // The tokens up to there can still be had.
                Err(_) if pos > begun => break,
                room => room?,
            }
            if pos == begun {
                let recent = self.recent(id);
                for (buffer, ids) in [(step.ids, &[id][..]), (step.recent, &recent)] {
                    self.backend
                        .write(step.program, buffer, bytemuck::cast_slice(ids))?;
                }
            }
            let penalty = sampler.penalty();
            let choice = sampler.next_choice();
            let run_params = RunParams {
                pos: pos as u32,
                rows: 1,
                recent: match penalty {
                    1.0 => 0,
                    _ => (pos + 1).min(RECENT) as u32,
                },
                repetition_penalty: penalty,
                temperature: choice.temperature,
                top_k: choice.top_k as u32,
                top_p: choice.top_p,
                draw: choice.draw as f32,
                ..RunParams::default()
            };
            self.backend.run(step.program, &run_params)?;
            let token = self.backend.read_later(step.program, step.chosen)?;
            ahead.tokens.push_back(token);
        }
        let read: Vec<u32> = match ahead.tokens.pop_front() {
            Some(token) => elements(&token.await?),
            None => Vec::new(),
        };
        self.cached.push(id);
        Ok(read.first().copied().filter(|token| *token != u32::MAX))
    }

    /// The last tokens of the cache and `id` behind them, each where [`Op::Choose`] has it.
    ///
    /// [`Op::Choose`]: ternary_model::program::Op::Choose
    fn recent(&self, id: u32) -> Vec<u32> {
        let pos = self.cached.len();
        let mut recent = vec![0; RECENT.min(pos + 1)];
        for (at, token) in (0..).zip(self.cached.iter().chain([&id])) {
            if at + RECENT > pos {
                recent[at % RECENT] = *token;
            }
        }
        recent
    }
}
