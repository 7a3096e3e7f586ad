//! One token through the decoder.

use alloc::vec::Vec;

use super::BoardError;
use super::file::{Layer, Matrix, Model, Norm};
use super::kernels::{Int8, expand_row, multiply_float, multiply_int8};
use crate::config::{Activation, ModelConfig, QuantMode};
use crate::math::{self, GELU_CUBIC, SQRT_2_OVER_PI};

/// Precision of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// As the CPU backend keeps them.
    F32,
    /// Half the memory.
    F16,
}

/// `[context, kv_dim]` of every layer, keys or values.
#[derive(Debug)]
enum Store {
    F32(Vec<f32>),
    F16(Vec<u16>),
}

/// `len` zeros, or an error where there is no memory for them.
fn zeros<T: Clone + Default>(len: usize) -> Result<Vec<T>, BoardError> {
    let bytes = len.saturating_mul(size_of::<T>());
    let mut v = Vec::new();
    v.try_reserve_exact(len)
        .map_err(|_| BoardError::Memory { bytes })?;
    v.resize(len, T::default());
    Ok(v)
}

impl Store {
    fn new(cache: Cache, len: usize) -> Result<Self, BoardError> {
        Ok(match cache {
            Cache::F32 => Store::F32(zeros(len)?),
            Cache::F16 => Store::F16(zeros(len)?),
        })
    }

    fn write(&mut self, at: usize, values: &[f32]) {
        match self {
            Store::F32(all) => all[at..at + values.len()].copy_from_slice(values),
            Store::F16(all) => {
                for (slot, v) in all[at..].iter_mut().zip(values) {
                    *slot = math::to_half(*v);
                }
            }
        }
    }

    /// `out.len()` values from `at` on.
    fn read(&self, at: usize, out: &mut [f32]) {
        match self {
            Store::F32(all) => out.copy_from_slice(&all[at..at + out.len()]),
            Store::F16(all) => {
                for (o, h) in out.iter_mut().zip(&all[at..]) {
                    *o = math::half(*h);
                }
            }
        }
    }
}

/// The input of a matrix: normalized, and as int8 where matrices take it so.
#[derive(Debug)]
struct Input {
    values: Vec<f32>,
    codes: Vec<i8>,
    scale: f32,
    int8: bool,
    /// An expanded row, for quantized matrices with float activations.
    line: Vec<f32>,
}

impl Input {
    fn prepare(&mut self, x: &[f32], norm: Option<(&Norm, f32)>) {
        let values = &mut self.values[..x.len()];
        match norm {
            Some((weight, eps)) => rms_norm(x, weight, eps, values),
            None => values.copy_from_slice(x),
        }
        if self.int8 {
            self.scale = math::max_by(values, f32::abs).max(1e-5) / 127.0;
            for (code, v) in self.codes.iter_mut().zip(values.iter()) {
                *code = math::round(v / self.scale) as i8;
            }
        }
    }

    fn multiply(&mut self, m: &Matrix, out: &mut [f32]) {
        if self.int8 && m.mode.is_quantized() {
            let x = Int8 {
                codes: &self.codes,
                scale: self.scale,
            };
            multiply_int8(m, &x, out);
        } else {
            multiply_float(m, &self.values[..m.cols], &mut self.line, out);
        }
    }
}

fn rms_norm(x: &[f32], weight: &Norm, eps: f32, out: &mut [f32]) {
    let dim = weight.0.len();
    for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
        let r = 1.0 / libm::sqrtf(math::dot(x, x) / dim as f32 + eps);
        for ((o, x), w) in out.iter_mut().zip(x).zip(weight.values()) {
            *o = x * r * w;
        }
    }
}

fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Gelu => {
            0.5 * x * (1.0 + math::tanh(SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x)))
        }
        Activation::GeluErf => x * math::normal_cdf(x),
        Activation::Silu => x * math::sigmoid(x),
        Activation::Relu2 => {
            let r = x.max(0.0);
            r * r
        }
    }
}

/// KV cache and activations of one text.
#[derive(Debug)]
pub struct State {
    shape: ModelConfig,
    context: usize,
    used: usize,
    keys: Store,
    values: Store,
    /// Residual stream `[hidden]`.
    x: Vec<f32>,
    input: Input,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    /// Output of attention, and of a branch.
    branch: Vec<f32>,
    /// `[intermediate]`; `up` only with a gate.
    gate: Vec<f32>,
    up: Vec<f32>,
    scores: Vec<f32>,
    /// A key or value of one head, read from the cache.
    line: Vec<f32>,
    /// cos, then sin, of the position's angles; the frequencies they come from.
    rotation: Vec<f32>,
    frequencies: Vec<f64>,
    logits: Vec<f32>,
}

impl State {
    /// For texts of up to `context` tokens.
    ///
    /// # Errors
    /// A context the model does not have, or too little memory.
    pub fn new(model: &Model, context: usize, cache: Cache) -> Result<Self, BoardError> {
        let c = &model.config;
        let most = c.max_seq_len;
        if context == 0 || context > most {
            return Err(BoardError::Context {
                found: context,
                most,
            });
        }
        let kv = (c.num_layers * c.kv_dim())
            .checked_mul(context)
            .ok_or(BoardError::Memory { bytes: usize::MAX })?;
        let widest = c.hidden_size.max(c.intermediate_size).max(c.q_dim());
        let map = c.bit_map();
        let single = |mode| mode == QuantMode::F32;
        let expands = c.activation_bits.is_none()
            || [map.embedding, map.lm_head].into_iter().any(single)
            || (map.layer_modes.iter()).any(|l| c.matrices().any(|kind| single(l.get(kind))));
        let rotary = if c.use_rope { c.head_dim() } else { 0 };
        let mut frequencies = zeros(rotary / 2)?;
        for (j, f) in frequencies.iter_mut().enumerate() {
            *f = c.rope_frequency(j);
        }
        Ok(State {
            context,
            used: 0,
            keys: Store::new(cache, kv)?,
            values: Store::new(cache, kv)?,
            x: zeros(c.hidden_size)?,
            input: Input {
                values: zeros(widest)?,
                codes: zeros(widest)?,
                scale: 0.0,
                int8: c.activation_bits.is_some(),
                line: zeros(if expands { widest } else { 0 })?,
            },
            q: zeros(c.q_dim())?,
            k: zeros(c.kv_dim())?,
            v: zeros(c.kv_dim())?,
            branch: zeros(c.hidden_size.max(c.q_dim()))?,
            gate: zeros(c.intermediate_size)?,
            up: zeros(if c.use_swiglu { c.intermediate_size } else { 0 })?,
            scores: zeros(context)?,
            line: zeros(c.head_dim())?,
            rotation: zeros(rotary)?,
            frequencies,
            logits: zeros(c.vocab_size)?,
            shape: c.clone(),
        })
    }

    /// Tokens in the cache.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Forget the text after its first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.used = self.used.min(len);
    }

    /// Append `ids` to the text; returns the logits of what may follow.
    ///
    /// # Errors
    /// Nothing is changed if a token is unknown or the context too short.
    pub fn feed(&mut self, model: &Model, ids: &[u32]) -> Result<&mut [f32], BoardError> {
        let c = &model.config;
        if *c != self.shape {
            return Err(BoardError::OtherModel);
        }
        if ids.is_empty() {
            return Err(BoardError::NoToken);
        }
        if ids.len() > self.context - self.used {
            return Err(BoardError::ContextFull {
                used: self.used,
                more: ids.len(),
                context: self.context,
            });
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= c.vocab_size) {
            return Err(BoardError::Token {
                id: *id,
                vocab: c.vocab_size,
            });
        }
        for id in ids {
            self.token(model, *id);
            self.used += 1;
        }
        self.input
            .prepare(&self.x, Some((&model.final_norm, c.rms_norm_eps)));
        self.input.multiply(&model.head, &mut self.logits);
        Ok(&mut self.logits)
    }

    /// Through all layers, into the residual stream and the cache.
    fn token(&mut self, model: &Model, id: u32) {
        let c = &model.config;
        expand_row(&model.embedding, id as usize, &mut self.x);
        if let Some(positions) = &model.positions {
            let row = &positions.0[self.used * c.hidden_size..][..c.hidden_size];
            for (x, p) in self.x.iter_mut().zip(row) {
                *x += f32::from_le_bytes(*p);
            }
        }
        let half = self.frequencies.len();
        for (j, f) in self.frequencies.iter().enumerate() {
            let angle = self.used as f64 * f;
            self.rotation[j] = libm::cos(angle) as f32;
            self.rotation[half + j] = libm::sin(angle) as f32;
        }
        for (i, layer) in model.layers.iter().enumerate() {
            self.attention(c, layer, i);
            self.add_branch(c);
            self.mlp(c, layer);
            self.add_branch(c);
        }
    }

    fn add_branch(&mut self, c: &ModelConfig) {
        let scale = c.residual_scale();
        for (x, b) in self.x.iter_mut().zip(&self.branch) {
            *x += scale * b;
        }
    }

    fn attention(&mut self, c: &ModelConfig, layer: &Layer, index: usize) {
        let eps = c.rms_norm_eps;
        let (head_dim, kv_dim) = (c.head_dim(), c.kv_dim());
        self.input.prepare(&self.x, Some((&layer.input_norm, eps)));
        self.input.multiply(&layer.q, &mut self.q);
        self.input.multiply(&layer.k, &mut self.k);
        self.input.multiply(&layer.v, &mut self.v);
        for (x, norm) in [(&mut self.q, 0), (&mut self.k, 1)] {
            for head in x.chunks_exact_mut(head_dim) {
                if let Some(norms) = &layer.qk_norm {
                    let norm = if norm == 0 { &norms.0 } else { &norms.1 };
                    rms_norm(head, norm, eps, &mut self.line);
                    head.copy_from_slice(&self.line);
                }
                rotate(head, &self.rotation);
            }
        }
        let base = index * self.context * kv_dim;
        let here = base + self.used * kv_dim;
        self.keys.write(here, &self.k);
        self.values.write(here, &self.v);
        let scale = 1.0 / libm::sqrtf(head_dim as f32);
        let share = c.num_heads / c.kv_heads();
        let heads = self.q.chunks_exact(head_dim);
        for (h, (q, out)) in heads
            .zip(self.branch.chunks_exact_mut(head_dim))
            .enumerate()
        {
            let at = base + h / share * head_dim;
            let scores = &mut self.scores[..=self.used];
            for (t, s) in scores.iter_mut().enumerate() {
                self.keys.read(at + t * kv_dim, &mut self.line);
                *s = math::dot(q, &self.line) * scale;
            }
            let max = math::max(scores);
            for s in scores.iter_mut() {
                *s = math::exp(*s - max);
            }
            out.fill(0.0);
            for (t, s) in scores.iter().enumerate() {
                self.values.read(at + t * kv_dim, &mut self.line);
                for (o, v) in out.iter_mut().zip(&self.line) {
                    *o += s * v;
                }
            }
            let inverse = 1.0 / math::sum_by([scores], |[s]| s);
            for o in out.iter_mut() {
                *o *= inverse;
            }
        }
        let norm = layer.attention_sub_norm.as_ref().map(|n| (n, eps));
        self.input.prepare(&self.branch[..c.q_dim()], norm);
        let out = &mut self.branch[..c.hidden_size];
        self.input.multiply(&layer.o, out);
    }

    fn mlp(&mut self, c: &ModelConfig, layer: &Layer) {
        let (eps, activation) = (c.rms_norm_eps, c.activation());
        self.input.prepare(&self.x, Some((&layer.mlp_norm, eps)));
        if let Some(gate) = &layer.gate {
            self.input.multiply(gate, &mut self.gate);
            self.input.multiply(&layer.up, &mut self.up);
            for (g, u) in self.gate.iter_mut().zip(&self.up) {
                *g = activate(activation, *g) * u;
            }
        } else {
            self.input.multiply(&layer.up, &mut self.gate);
            for g in &mut self.gate {
                *g = activate(activation, *g);
            }
        }
        let norm = layer.mlp_sub_norm.as_ref().map(|n| (n, eps));
        self.input.prepare(&self.gate, norm);
        let out = &mut self.branch[..c.hidden_size];
        self.input.multiply(&layer.down, out);
    }
}

/// Rotate-half RoPE; an empty rotation leaves the head as it is.
fn rotate(head: &mut [f32], rotation: &[f32]) {
    let half = rotation.len() / 2;
    let (cos, sin) = rotation.split_at(half);
    for j in 0..half {
        let (a, b) = (head[j], head[half + j]);
        head[j] = a * cos[j] - b * sin[j];
        head[half + j] = b * cos[j] + a * sin[j];
    }
}
