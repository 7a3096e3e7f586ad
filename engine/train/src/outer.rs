//! Local steps: every rank trains by itself for some steps, then all go on from one model
//! (DiLoCo, Douillard et al. 2023).
//!
//! After `sync_every` steps, with θ₀ what they began with and θᵣ what rank r has:
//! Δ = θ₀ − mean θᵣ, u ← μ·u + Δ, θ ← θ₀ − η·(Δ + μ·u), which is Nesterov's step with the rate
//! η = `outer_lr` and the momentum μ = `outer_momentum`. AdamW's or Muon's moments go on from
//! their means over the ranks, where the paper leaves each rank its own: so the state between two
//! rounds is one, and a checkpoint knows no ranks.

use super::trainer::Trainer;
use crate::error::Result;
use ternary_model::program::BufferKind;

impl Trainer {
    /// Whether `step` ends with all ranks at the same model.
    pub(super) fn meets_at(&self, step: usize) -> bool {
        let every = self.train.sync_every;
        every == 0 || step.is_multiple_of(every) || step == self.train.max_steps
    }

    /// Before a local step: remember what a round begins with.
    pub(super) async fn begin_round(&mut self) -> Result<()> {
        if !self.round_start.is_empty() && !self.meets_at(self.step) {
            return Ok(());
        }
        self.round_start.clear();
        for p in self.trained() {
            let values = self.parameter(&p.name).await?;
            self.round_start.push(values);
        }
        Ok(())
    }

    /// Mean over the ranks of a buffer.
    async fn mean(&mut self, name: &str) -> Result<Vec<f32>> {
        let values = self.buffer(name).await?;
        #[cfg(feature = "native")]
        if let Some(ranks) = &mut self.ranks {
            let size = ranks.size() as f32;
            let sum = ranks.sum(values);
            let mut sum = sum.map_err(|e| self.rank_error(e))?;
            sum.iter_mut().for_each(|v| *v /= size);
            return Ok(sum);
        }
        Ok(values)
    }

    /// The outer step, after the local steps of a round.
    pub(super) async fn end_round(&mut self) -> Result<()> {
        let rate = self.train.outer_lr as f32;
        let momentum = self.train.outer_momentum as f32;
        let starts = std::mem::take(&mut self.round_start);
        for (p, mut values) in self.trained().into_iter().zip(starts) {
            let name = BufferKind::Param.named(&p.name);
            let mean = self.mean(&name).await?;
            let velocity_name = BufferKind::OuterMoment.named(&p.name);
            let mut velocity = self.buffer(&velocity_name).await?;
            for ((value, mean), u) in values.iter_mut().zip(&mean).zip(&mut velocity) {
                let delta = *value - mean;
                *u = momentum * *u + delta;
                *value -= rate * (delta + momentum * *u);
            }
            self.set_buffer(&name, &values)?;
            self.set_buffer(&velocity_name, &velocity)?;
            for kind in self.moments(&p) {
                if *kind != BufferKind::OuterMoment {
                    let name = kind.named(&p.name);
                    let mean = self.mean(&name).await?;
                    self.set_buffer(&name, &mean)?;
                }
            }
        }
        Ok(())
    }
}
