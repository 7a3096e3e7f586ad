//! The choice of attention's form, on caches of its own: a model's have no memory before a text
//! comes.

use super::super::GpuBackend;
use super::super::forms::{Form, Heads};
use crate::{Backend, BackendError};
use ternary_core::rng::Rng;
use ternary_model::program::{BufferId, Elem, Op, Program, Recorder, RunParams, Scores};

/// Positions that attention is timed over, where a model has so many.
const CONTEXT: usize = 1024;

/// Attention of one kind, and how it is timed.
pub(super) struct Attention {
    kind: Heads,
    /// Of the caches.
    elem: Elem,
    context: usize,
    scores: Scores,
}

/// Attention by itself, and its buffers: the queries, the caches, and the result.
struct Alone {
    program: Program,
    inputs: [BufferId; 3],
    out: BufferId,
}

impl Attention {
    fn record(&self) -> Alone {
        let Heads {
            rows,
            heads,
            kv_heads,
            head_dim,
            precision,
        } = self.kind;
        let mut recorder = Recorder::new();
        let bytes = self.context * kv_heads * precision.head_bytes(head_dim);
        let len = bytes / self.elem.bytes();
        let [q, out] = [0; 2].map(|_| recorder.io(Elem::F32, rows * heads * head_dim));
        let [cache_k, cache_v] = [0; 2].map(|_| recorder.io(self.elem, len));
        recorder.push(Op::CachedAttention {
            q,
            cache_k,
            cache_v,
            out,
            rows,
            heads,
            kv_heads,
            head_dim,
            max_seq: self.context,
            precision,
            scores: self.scores,
            places: None,
        });
        Alone {
            program: recorder.finish("attention"),
            inputs: [q, cache_k, cache_v],
            out,
        }
    }
}

impl GpuBackend {
    /// Attention of every kind in the prepared programs that has no form yet.
    pub(super) fn open_attention(&self) -> Vec<Attention> {
        let forms = &self.gpu.forms;
        let mut open: Vec<Attention> = Vec::new();
        for prepared in &self.programs {
            for op in &prepared.program.ops {
                if let &Op::CachedAttention {
                    cache_k,
                    max_seq,
                    scores,
                    ..
                } = op
                    && let Some(kind) = Heads::of(op)
                    && forms.is_open(&kind.to_string(), &forms.of_attention())
                    && open.iter().all(|known| known.kind != kind)
                {
                    open.push(Attention {
                        kind,
                        elem: prepared.program.buffers[cache_k.index()].elem,
                        context: max_seq.min(CONTEXT),
                        scores,
                    });
                }
            }
        }
        open
    }

    pub(super) async fn choose_attention(
        &mut self,
        attention: &Attention,
    ) -> Result<(), BackendError> {
        let (programs, scratch) = (self.programs.len(), self.pool.sizes().count());
        let fastest = self.fastest_attention(attention).await;
        self.forget(programs, scratch);
        let form = fastest?.unwrap_or(Form::AttentionWorkgroup);
        self.gpu.forms.choose(attention.kind.to_string(), form);
        Ok(())
    }

    async fn fastest_attention(
        &mut self,
        attention: &Attention,
    ) -> Result<Option<Form>, BackendError> {
        let Heads { rows, .. } = attention.kind;
        let what = attention.kind.to_string();
        let run_params = RunParams {
            pos: attention.context.saturating_sub(rows) as u32,
            rows: rows as u32,
            ..RunParams::default()
        };
        let mut want = None;
        let mut good = Vec::new();
        for form in self.gpu.forms.of_attention() {
            self.gpu.forms.choose(what.clone(), form);
            let attempt = self.attempt(attention, &run_params).await;
            self.compare(&what, form, attempt, &mut want, &mut good)?;
        }
        self.race(&what, good).await
    }

    /// The steps in the form that is chosen, and their result.
    async fn attempt(
        &mut self,
        attention: &Attention,
        run_params: &RunParams,
    ) -> Result<(Vec<super::Step>, Vec<u8>), BackendError> {
        let Alone {
            program,
            inputs,
            out,
        } = attention.record();
        let id = self.prepare(program)?;
        let mut rng = Rng::new(1);
        for input in inputs {
            let bytes = self.source(id, input)?.1;
            // The top bit of no exponent is set, so that floats of any size are small.
            let contents: Vec<u8> = (0..bytes).map(|_| rng.next_u64() as u8 & 0xbf).collect();
            self.write(id, input, &contents)?;
        }
        self.run(id, run_params)?;
        let result = self.read(id, &[out]).await?.concat();
        Ok((std::mem::take(&mut self.programs[id.0].steps), result))
    }
}
