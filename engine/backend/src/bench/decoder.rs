//! Speed of a decoder of some shape, with weights that mean nothing.

use std::collections::VecDeque;

use crate::gpu::GpuBackend;
use crate::{Backend, BackendError, STEPS_AHEAD};
use ternary_common::platform::Instant;
use ternary_core::config::{
    Activation, CachePrecision, LayerBitMap, LayerMode, ModelConfig, QuantMode, WeightScale,
};
use ternary_core::rng::Rng;
use ternary_model::program::{BufferKind, Elem, Role, RunParams};
use ternary_model::{InferProgram, Logits, record_infer};

/// Bytes of a weight that are made anew; the rest repeats them.
const FILL: usize = 1 << 20;

/// 5M parameters, as the model that ships with the page has them: hidden 256, 6 layers.
pub fn shape_5m() -> ModelConfig {
    let mut map = LayerBitMap::sandwich(6, QuantMode::Ternary);
    (map.embedding, map.lm_head) = (QuantMode::F16, QuantMode::F16);
    map.layer_modes = vec![LayerMode::Whole(QuantMode::Ternary); 6];
    ModelConfig {
        vocab_size: 3072,
        hidden_size: 256,
        num_heads: 8,
        num_layers: 6,
        intermediate_size: 704,
        max_seq_len: 1024,
        use_swiglu: true,
        use_rope: true,
        weight_scale: WeightScale::Tensor,
        layer_bit_map: Some(map),
        ..ModelConfig::default()
    }
}

/// 110M parameters: hidden 768, 12 layers, one scale a matrix, an 8-bit head.
pub fn shape_110m() -> ModelConfig {
    let mut map = LayerBitMap::sandwich(12, QuantMode::Ternary);
    (map.embedding, map.lm_head) = (QuantMode::EightBit, QuantMode::EightBit);
    ModelConfig {
        vocab_size: 32_000,
        hidden_size: 768,
        num_heads: 12,
        num_layers: 12,
        intermediate_size: 2048,
        max_seq_len: 2048,
        use_swiglu: true,
        use_rope: true,
        weight_scale: WeightScale::Tensor,
        layer_bit_map: Some(map),
        ..ModelConfig::default()
    }
}

/// That of BitNet b1.58 2B4T: hidden 2560, 30 layers, a tied f16 head.
pub fn shape_2b4t() -> ModelConfig {
    let mut map = LayerBitMap::sandwich(30, QuantMode::Ternary);
    (map.embedding, map.lm_head) = (QuantMode::F16, QuantMode::F16);
    map.layer_modes = vec![LayerMode::Whole(QuantMode::Ternary); 30];
    ModelConfig {
        vocab_size: 128_256,
        hidden_size: 2560,
        num_heads: 20,
        num_kv_heads: Some(5),
        num_layers: 30,
        intermediate_size: 6912,
        max_seq_len: 2048,
        use_swiglu: true,
        use_rope: true,
        use_qk_norm: false,
        use_sub_norm: true,
        activation: Some(Activation::Relu2),
        weight_scale: WeightScale::Tensor,
        layer_bit_map: Some(map),
        ..ModelConfig::default()
    }
}

/// Dispatches of a decode step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Dispatches {
    pub token: usize,
    pub layer: usize,
}

/// What one step of a shape takes.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Speed {
    pub tokens: usize,
    pub tokens_per_second: f64,
    /// Bytes of weights and of the cache that a step has to read.
    pub step_bytes: u64,
}

/// A decoder on a device.
#[derive(Debug)]
pub struct Decoder {
    config: ModelConfig,
}

impl Decoder {
    pub fn new(config: ModelConfig) -> Decoder {
        Decoder { config }
    }

    /// As the steps of a text are: `chained` ones choose the token that the next begins with.
    fn record(&self, rows: usize, chained: bool) -> InferProgram {
        let logits = match chained {
            true => Logits::Chosen,
            false => Logits::Last,
        };
        record_infer(&self.config, rows, logits, None, CachePrecision::F16)
    }

    /// Dispatches of a step of `rows` rows, counted on models of one and two layers with few
    /// tokens: what a program has in common is the same for any.
    pub fn dispatches(
        &self,
        gpu: &mut GpuBackend,
        rows: usize,
    ) -> Result<Dispatches, BackendError> {
        let mut count = [0; 2];
        for (layers, count) in (1..).zip(&mut count) {
            let map = self.config.bit_map();
            let config = ModelConfig {
                num_layers: layers,
                layer_bit_map: Some(LayerBitMap {
                    layer_modes: map.layer_modes[..layers].to_vec(),
                    ..map
                }),
                ..self.config.clone()
            };
            let small = Decoder { config };
            let id = gpu.prepare(small.record(rows, rows == 1).program)?;
            *count = gpu.dispatches(id)?;
            gpu.clear();
        }
        let layer = count[1] - count[0];
        Ok(Dispatches {
            token: count[0] + layer * (self.config.num_layers - 1),
            layer,
        })
    }

    /// Tokens a second of steps of `rows` rows from position `from` on, as many as take about
    /// `seconds`, as they are made when a model talks: single rows follow one another on a device
    /// that queues them, and otherwise each step's candidates are read before the next begins.
    pub async fn speed(
        &self,
        backend: &mut dyn Backend,
        rows: usize,
        from: usize,
        seconds: f64,
    ) -> Result<Speed, BackendError> {
        let chained = rows == 1 && backend.queues();
        let recorded = self.record(rows, chained);
        let mut weights = 0;
        for decl in &recorded.program.buffers {
            if let Role::Shared(name) = &decl.role {
                backend.reserve(name, decl.bytes())?;
                fill(backend, name, decl.elem, decl.bytes())?;
                weights += decl.bytes() as u64;
            }
        }
        let sizes = self.cache_sizes();
        let program = backend.prepare(recorded.program)?;
        backend.grow(&sizes).await?;
        backend.tune().await?;
        let room = self.config.max_seq_len - rows;
        let chosen = recorded.sampling.and_then(|s| s.chosen);
        let mut tokens = VecDeque::new();
        let buffers = recorded.sampling.map(|s| vec![s.top_ids, s.top_values]);
        let buffers = buffers.unwrap_or_else(|| vec![recorded.logits]);
        let ids: Vec<u32> = (0..rows as u32).collect();
        let mut pos = from.min(room);
        let mut steps = 0;
        let mut start = Instant::now();
        loop {
            if chosen.is_none() || pos == from {
                backend.write(program, recorded.ids, bytemuck::cast_slice(&ids))?;
            }
            let run_params = RunParams {
                pos: pos as u32,
                rows: rows as u32,
                ..RunParams::default()
            };
            backend.run(program, &run_params)?;
            if let Some(chosen) = chosen {
                tokens.push_back(backend.read_later(program, chosen)?);
                if tokens.len() <= STEPS_AHEAD {
                    pos = (pos + rows).min(room);
                    continue;
                }
                if let Some(token) = tokens.pop_front() {
                    token.await?;
                }
            } else {
                backend.read(program, &buffers).await?;
            }
            if steps == 0 {
                // The first compiles and is not counted.
                start = Instant::now();
            }
            let took = start.elapsed().as_secs_f64();
            if steps > 0 && took >= seconds {
                let tokens = steps * rows;
                backend.clear();
                return Ok(Speed {
                    tokens,
                    tokens_per_second: tokens as f64 / took,
                    step_bytes: weights - self.unread_embedding() + self.cache_bytes(from),
                });
            }
            steps += 1;
            pos = (pos + rows).min(room);
        }
    }

    fn cache_sizes(&self) -> Vec<(String, usize)> {
        let bytes = CachePrecision::F16.position_bytes(&self.config) * self.config.max_seq_len;
        let kinds = [BufferKind::CachedKeys, BufferKind::CachedValues];
        (0..self.config.num_layers)
            .flat_map(|layer| kinds.map(|kind| (kind.named(layer), bytes)))
            .collect()
    }

    /// Of the keys and values of `tokens`.
    fn cache_bytes(&self, tokens: usize) -> u64 {
        let c = &self.config;
        (2 * CachePrecision::F16.position_bytes(c) * c.num_layers * tokens) as u64
    }

    /// Bytes of an embedding of which a step reads a row only; a tied one is the head.
    fn unread_embedding(&self) -> u64 {
        if self.config.tie_word_embeddings {
            return 0;
        }
        let embedding = ternary_core::params::embedding(&self.config);
        ternary_core::quant::tile::data_bytes(embedding.mode, embedding.rows, embedding.cols) as u64
    }
}

fn fill(
    backend: &mut dyn Backend,
    name: &str,
    elem: Elem,
    bytes: usize,
) -> Result<(), BackendError> {
    let mut rng = Rng::named(1, name);
    let mut piece = vec![0u8; FILL.min(bytes.next_multiple_of(4))];
    match elem {
        Elem::F32 => piece
            .chunks_exact_mut(4)
            .for_each(|word| word.copy_from_slice(&0.01f32.to_le_bytes())),
        // No field of two bits is 3: valid codes, and halves that are finite.
        _ => piece.fill_with(|| {
            let byte = rng.next_u64() as u8;
            byte & !(byte >> 1 & 0x55)
        }),
    }
    let mut at = 0;
    while at < bytes {
        let len = piece.len().min(bytes - at);
        backend.upload_part(name, at, len, &mut |part| {
            part.copy_from_slice(&piece[..len])
        })?;
        at += len;
    }
    Ok(())
}
