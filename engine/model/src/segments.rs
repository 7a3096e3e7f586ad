//! A validation forward in pieces: embedding, each layer, head. They hand the residual stream over
//! in one shared buffer, so that a search runs again only what a changed bit-map changes.

use crate::program::{BufferId, Elem, EmbedTable, Op, Program};
use ternary_core::config::{LayerBitMap, LayerMode, ModelConfig, QuantMode};

use super::bit_linear::BitLinear;
use super::decoder::{Block, embed, logits};
use super::graph::{Graph, Phase, Source};
use super::remap::Remap;
use ternary_core::params;

/// Shared buffer of the residual stream, f32 `[batch·seq, hidden]`.
pub const STREAM: &str = "stream";

#[derive(Debug)]
pub struct EmbeddingSegment {
    pub program: Program,
    /// u32 `[batch·seq]`.
    pub ids: BufferId,
    pub stream: BufferId,
}

#[derive(Debug)]
pub struct HeadSegment {
    pub program: Program,
    /// u32 `[batch·seq]`.
    pub targets: BufferId,
    /// Cross-entropy of every row, f32 `[batch·seq]`.
    pub losses: BufferId,
}

/// Records the pieces for `batch` sequences of `seq` tokens.
#[derive(Clone, Copy, Debug)]
pub struct Segments<'a> {
    /// The model's shape; its bit-map does not matter here.
    pub config: &'a ModelConfig,
    pub remap: &'a Remap,
    pub batch: usize,
    pub seq: usize,
}

impl Segments<'_> {
    fn config(&self, change: impl FnOnce(&mut LayerBitMap)) -> ModelConfig {
        let mut map = self.config.bit_map();
        change(&mut map);
        ModelConfig {
            layer_bit_map: Some(map),
            ..self.config.clone()
        }
    }

    fn graph<'a>(&'a self, config: &'a ModelConfig) -> (Graph<'a>, BufferId) {
        let (batch, seq) = (self.batch, self.seq);
        let mut g = Graph {
            source: Source::Remapped(self.remap),
            ..Graph::new(config, Phase::Train { batch, seq }, None)
        };
        let stream = g
            .rec
            .shared(STREAM, Elem::F32, batch * seq * config.hidden_size);
        (g, stream)
    }

    /// Tokens → stream.
    pub fn embedding(&self, mode: QuantMode) -> EmbeddingSegment {
        let config = self.config(|map| map.embedding = mode);
        let (mut g, stream) = self.graph(&config);
        let rows = g.rows();
        let ids = g.rec.io(Elem::U32, rows);
        let table = BitLinear::forward_weight(&mut g, &params::embedding(&config));
        embed(&mut g, ids, EmbedTable::Float(table), stream);
        EmbeddingSegment {
            program: g.rec.finish("search: embedding"),
            ids,
            stream,
        }
    }

    /// Stream → stream through layer `layer` with its matrices in `modes`.
    pub fn layer(&self, layer: usize, modes: LayerMode) -> Program {
        let config = self.config(|map| map.layer_modes[layer] = modes);
        let (mut g, stream) = self.graph(&config);
        let x = Block::new(&g, layer).forward(&mut g, stream);
        let len = g.rows() * config.hidden_size;
        g.add(x, stream, 1.0, len, false);
        g.rec.finish(&format!("search: layer {layer}"))
    }

    /// Stream → losses, the head (the embedding if they are tied) in `mode`.
    pub fn head(&self, mode: QuantMode) -> HeadSegment {
        let config = self.config(|map| {
            map.lm_head = mode;
            if self.config.tie_word_embeddings {
                map.embedding = mode;
            }
        });
        let (mut g, stream) = self.graph(&config);
        let (rows, vocab) = (g.rows(), config.vocab_size);
        let targets = g.rec.io(Elem::U32, rows);
        let losses = g.rec.io(Elem::F32, rows);
        let weight = BitLinear::forward_weight(&mut g, &params::lm_head(&config));
        let logits = logits(&mut g, stream, weight);
        g.rec.push(Op::CrossEntropy {
            logits,
            targets,
            losses,
            rows,
            vocab,
            z_loss: 0.0,
            grad: false,
        });
        HeadSegment {
            program: g.rec.finish("search: head"),
            targets,
            losses,
        }
    }
}
