//! Inference for several sequences at once: their rows go through the layers together, each at its
//! own position and with its own keys and values, which lie in pages; then the rows that are asked
//! about go through the head.

use crate::program::{BufferId, Elem, EmbedTable, Op, PAGE, Places, Program};
use ternary_core::config::{CachePrecision, LoraConfig, ModelConfig};
use ternary_core::params;

use super::decoder::{Block, Head, cap_logits, embed};
use super::graph::{Graph, Phase};
use super::norm::Norm;
use super::segments::STREAM;

/// Records the programs of several sequences.
#[derive(Clone, Copy, Debug)]
pub struct SequencePrograms<'a> {
    pub config: &'a ModelConfig,
    /// Tokens of a step, of all sequences together.
    pub rows: usize,
    /// Sequences at the same time.
    pub sequences: usize,
    /// Pages of the KV cache, of all sequences together.
    pub pages: usize,
    pub cache: CachePrecision,
}

/// Tokens → residual stream.
#[derive(Debug)]
pub struct BodyProgram {
    pub program: Program,
    /// u32 `[rows]`.
    pub ids: BufferId,
    /// See [`Places::buffer`].
    pub places: BufferId,
}

/// Rows of the residual stream → what they say.
#[derive(Debug)]
pub struct RowsProgram {
    pub program: Program,
    /// u32, which rows of the stream.
    pub picks: BufferId,
    /// f32 `[picked, vocab]`: logits; or `[picked, hidden]`: hidden states behind the final norm.
    pub out: BufferId,
}

impl SequencePrograms<'_> {
    /// Pages of a sequence that fills the context.
    pub fn table(&self) -> usize {
        self.config.max_seq_len.div_ceil(PAGE)
    }

    fn graph(&self, rows: usize) -> (Graph<'_>, BufferId) {
        let mut g = Graph {
            cache: self.cache,
            ..Graph::new(self.config, Phase::Infer { rows }, None)
        };
        let len = self.rows * self.config.hidden_size;
        let stream = g.rec.shared(STREAM, Elem::F32, len);
        (g, stream)
    }

    /// Through the layers, with the adapter `(lora, number)` beside them.
    pub fn body(&self, adapter: Option<(&LoraConfig, usize)>) -> BodyProgram {
        let (mut g, stream) = self.graph(self.rows);
        let ids = g.rec.io(Elem::U32, self.rows);
        let len = 2 * self.rows + self.sequences * self.table();
        let places = g.rec.io(Elem::U32, len);
        g.places = Some(Places {
            buffer: places,
            pages: self.pages,
        });
        if let Some((lora, number)) = adapter {
            (g.lora, g.adapter) = (Some(lora), Some(number));
        }
        let table = EmbedTable::Weight(g.packed(&params::embedding(self.config)));
        embed(&mut g, ids, table, stream);
        let mut x = stream;
        for layer in 0..self.config.num_layers {
            x = Block::new(&g, layer).forward(&mut g, x);
        }
        assert_eq!(x, stream, "inference adds to the residual stream in place");
        BodyProgram {
            program: g.rec.finish(&format!("{} rows of sequences", self.rows)),
            ids,
            places,
        }
    }

    /// The logits of up to `picked` rows.
    pub fn head(&self, picked: usize) -> RowsProgram {
        let (mut g, stream) = self.graph(picked);
        let (picks, x) = pick(&mut g, stream);
        let head = Head::new(&mut g, x);
        let weight = g.packed(&head.linear.matrix);
        let out = g.rec.io(Elem::F32, picked * self.config.vocab_size);
        g.rec.push(Op::Linear {
            input: head.input.input(head.linear.int8),
            weight,
            out,
            rows: picked,
        });
        cap_logits(&mut g, out);
        RowsProgram {
            program: g.rec.finish(&format!("logits of {picked} rows")),
            picks,
            out,
        }
    }

    /// The hidden states of picked rows, behind the final norm.
    pub fn hidden(&self) -> RowsProgram {
        let (mut g, stream) = self.graph(self.rows);
        let (picks, x) = pick(&mut g, stream);
        let norm = Norm::stream(self.config, params::FINAL_NORM.into());
        let out = g.rec.io(Elem::F32, self.rows * self.config.hidden_size);
        norm.forward_into(&mut g, x, out);
        RowsProgram {
            program: g.rec.finish("hidden states of picked rows"),
            picks,
            out,
        }
    }
}

fn pick(g: &mut Graph, x: BufferId) -> (BufferId, BufferId) {
    let (rows, dim) = (g.rows(), g.config.hidden_size);
    let picks = g.rec.io(Elem::U32, rows);
    let out = g.activations(dim);
    g.rec.push(Op::PickRows {
        x,
        picks,
        out,
        rows,
        dim,
    });
    (picks, out)
}
