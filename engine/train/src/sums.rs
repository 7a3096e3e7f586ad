//! Sums of gradients over micro-batches, each taken from the backend as it is computed.
//!
//! A micro-batch's gradients are complete before they are added to those before it: then the sum
//! is the same whether one process computes all micro-batches or each does its share.

use std::collections::HashMap;
use std::rc::Rc;

use super::trainer::Trainer;
use crate::error::Result;
use ternary_backend::elements;
use ternary_common::platform::Instant;
use ternary_model as model;
use ternary_model::program::{BufferKind, Program, Role, RunParams};

/// Elements of a part, at least: shorter ones would cost more for their handling than they gain.
const PART: usize = 1 << 14;

/// Operations of a micro-batch, and what is complete after them.
#[derive(Debug)]
pub(super) struct Part {
    /// The operation behind the last one.
    end: usize,
    /// Names and lengths.
    buffers: Vec<(String, usize)>,
}

/// The parts of a micro-batch, in the order in which its backward pass completes the gradients.
pub(super) fn parts(program: &Program) -> Rc<[Part]> {
    let mut last: HashMap<&str, (usize, usize)> = HashMap::new();
    for (at, op) in program.ops.iter().enumerate() {
        for id in op.access().writes {
            let decl = &program.buffers[id.index()];
            if let Role::Shared(name) = &decl.role
                && (BufferKind::of(name) == Some(BufferKind::Grad)
                    || [model::TRAIN_LOSS, model::KL].contains(&name.as_str()))
            {
                last.insert(name, (at, decl.len));
            }
        }
    }
    let mut order: Vec<_> = last.into_iter().map(|(name, at)| (at, name)).collect();
    order.sort_unstable();
    let mut parts: Vec<Part> = Vec::new();
    let mut len = PART;
    for ((at, n), name) in order {
        if len >= PART {
            parts.push(Part {
                end: 0,
                buffers: Vec::new(),
            });
            len = 0;
        }
        if let Some(part) = parts.last_mut() {
            part.end = at + 1;
            part.buffers.push((name.to_owned(), n));
            len += n;
        }
    }
    if let Some(part) = parts.last_mut() {
        part.end = program.ops.len();
    }
    parts.into()
}

/// `sum` = `before` + `sum`, element by element.
pub(super) fn add_to(sum: &mut [f32], before: &[f32]) {
    for (sum, before) in sum.iter_mut().zip(before) {
        *sum += *before;
    }
}

/// A micro-batch's place among those of a sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Counted from 0.
    pub index: usize,
    /// Micro-batches of the sum.
    #[cfg_attr(not(feature = "native"), allow(dead_code, reason = "for ranks"))]
    pub of: usize,
}

impl Trainer {
    /// Make a micro-batch whose ids are written, and add its gradients to those of the
    /// micro-batches before.
    pub(super) async fn run_apart(
        &mut self,
        program: usize,
        turn: Turn,
        run_params: &RunParams,
    ) -> Result<()> {
        let (id, parts) = (self.micro[program].id, self.micro[program].parts.clone());
        self.sums.resize(parts.len(), Vec::new());
        let mut begin = 0;
        for (number, part) in parts.iter().enumerate() {
            self.backend.run_part(id, begin..part.end, run_params)?;
            begin = part.end;
            let len = part.buffers.iter().map(|(_, len)| len).sum();
            let mut values = Vec::with_capacity(len);
            for (name, len) in &part.buffers {
                values.extend(elements::<f32>(&self.backend.download(name).await?));
                let bytes = len * size_of::<f32>();
                self.backend
                    .upload_part(name, 0, bytes, &mut |part| part.fill(0))?;
            }
            #[cfg(feature = "native")]
            if let Some(ranks) = self.together() {
                let added = ranks.add(turn.index, turn.of, values);
                added.map_err(|e| self.rank_error(e))?;
                continue;
            }
            if turn.index > 0 {
                add_to(&mut values, &self.sums[number]);
            }
            self.sums[number] = values;
        }
        Ok(())
    }

    /// Put the sums over `of` micro-batches where the update looks for them.
    #[cfg_attr(not(feature = "native"), allow(unused_variables, reason = "for ranks"))]
    pub(super) async fn put_sums(&mut self, program: usize, of: usize) -> Result<()> {
        let parts = self.micro[program].parts.clone();
        let begun = Instant::now();
        #[cfg(feature = "native")]
        if let Some(ranks) = self.together() {
            let len = |part: &Part| part.buffers.iter().map(|(_, len)| len).sum();
            let asked = ranks.ask_totals(of, parts.iter().map(len).collect());
            asked.map_err(|e| self.rank_error(e))?;
        }
        for (number, part) in parts.iter().enumerate() {
            #[cfg(feature = "native")]
            if let Some(ranks) = self.together() {
                let total = ranks.total();
                self.sums[number] = total.map_err(|e| self.rank_error(e))?;
            }
            let sum = std::mem::take(&mut self.sums[number]);
            let mut rest = &sum[..];
            for (name, len) in &part.buffers {
                let (values, behind) = rest.split_at(*len);
                rest = behind;
                // Rank 0 reports it, and has what has not been reported yet.
                if name != model::KL || self.leads() {
                    self.set_buffer(name, values)?;
                }
            }
        }
        log::debug!(
            "step {}: {:.2} ms until the sums of gradients were there",
            self.step + 1,
            1e3 * begun.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ternary_core::config::ModelConfig;
    use ternary_core::params;
    use ternary_model::Objective;

    /// Each gradient is in one part, and nothing is added to it behind that part's end.
    #[test]
    fn parts_end_where_their_gradients_are_complete() {
        let config = ModelConfig {
            vocab_size: 300,
            hidden_size: 128,
            num_heads: 4,
            num_layers: 4,
            intermediate_size: 256,
            max_seq_len: 16,
            ..ModelConfig::default()
        };
        let recorded = model::record_train(&config, 2, 16, Objective::default(), true);
        let program = recorded.program;
        let parts = parts(&program);
        let mut names = Vec::new();
        let mut begin = 0;
        for part in parts.iter() {
            assert!(part.end > begin, "an empty part");
            begin = part.end;
            for op in &program.ops[part.end..] {
                for id in op.access().writes {
                    let written = &program.buffers[id.index()].role;
                    let Role::Shared(written) = written else {
                        continue;
                    };
                    assert!(part.buffers.iter().all(|(name, _)| name != written));
                }
            }
            names.extend(part.buffers.iter().map(|(name, _)| name.clone()));
        }
        assert_eq!(begin, program.ops.len());
        names.sort();
        let all = params::all(&config).into_iter();
        let mut expected: Vec<_> = all.map(|p| BufferKind::Grad.named(&p.name)).collect();
        expected.push(model::TRAIN_LOSS.to_owned());
        expected.sort();
        assert_eq!(names, expected);
        // The last layer's gradients go out while the first one's are still to come.
        let first = &parts[0];
        assert!(parts.len() >= 8, "{} parts", parts.len());
        assert!(
            first
                .buffers
                .iter()
                .any(|(name, _)| name.contains("layers.3"))
        );
    }
}
