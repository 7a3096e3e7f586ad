//! One token through the decoder.

use alloc::vec::Vec;

use super::BoardError;
use super::file::{Layer, Matrix, Model, Norm, Vector};
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
    /// A row of a matrix in single precision.
    line: Vec<f32>,
}

impl Input {
    fn prepare(&mut self, x: &[f32], norm: Option<(&Norm, f32)>) {
        let values = &mut self.values[..x.len()];
        match norm {
            Some((norm, eps)) => normalize(x, norm, eps, values),
            None => values.copy_from_slice(x),
        }
        if self.int8 {
            self.scale = math::max_by(values, f32::abs).max(1e-5) / 127.0;
            for (code, v) in self.codes.iter_mut().zip(values.iter()) {
                *code = math::rounded_byte(v / self.scale);
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
        if let Some(bias) = &m.bias {
            for (o, b) in out.iter_mut().zip(bias.values()) {
                *o += b;
            }
        }
    }

    /// `x` normalized where it is; what was prepared is lost.
    fn normalize_in_place(&mut self, x: &mut [f32], norm: &Norm, eps: f32) {
        let values = &mut self.values[..x.len()];
        normalize(x, norm, eps, values);
        x.copy_from_slice(values);
    }
}

/// Every `dim` values of `x` by themselves, as many as the norm has channels.
fn normalize(x: &[f32], norm: &Norm, eps: f32, out: &mut [f32]) {
    let dim = norm.weight.0.len();
    for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
        match &norm.bias {
            None => out.copy_from_slice(x),
            Some(_) => {
                let mean = math::sum_by([x], |[x]| x) / dim as f32;
                for (o, x) in out.iter_mut().zip(x) {
                    *o = x - mean;
                }
            }
        }
        let r = 1.0 / libm::sqrtf(math::dot(out, out) / dim as f32 + eps);
        for (o, w) in out.iter_mut().zip(norm.weight.values()) {
            *o = *o * r * w;
        }
        for (o, b) in out
            .iter_mut()
            .zip(norm.bias.iter().flat_map(Vector::values))
        {
            *o += b;
        }
    }
}

/// c·tanh(x / c).
fn softcap(x: &mut [f32], cap: Option<f32>) {
    if let Some(cap) = cap {
        for v in x {
            *v = cap * math::tanh(*v / cap);
        }
    }
}

/// What a position turns the heads of some layers by.
#[derive(Debug)]
struct Rotation {
    /// Of no pair if no layer has these.
    frequencies: Vec<f64>,
    /// What rotated pairs are multiplied by.
    factor: f64,
    /// cos, then sin, of the position's angles.
    values: Vec<f32>,
}

impl Rotation {
    fn new(
        pairs: usize,
        frequency: impl Fn(usize) -> f64,
        factor: f64,
    ) -> Result<Self, BoardError> {
        let mut frequencies = zeros(pairs)?;
        for (j, f) in frequencies.iter_mut().enumerate() {
            *f = frequency(j);
        }
        Ok(Rotation {
            frequencies,
            factor,
            values: zeros(2 * pairs)?,
        })
    }

    fn set_position(&mut self, position: usize) {
        let (cos, sin) = self.values.split_at_mut(self.frequencies.len());
        for ((f, cos), sin) in self.frequencies.iter().zip(cos).zip(sin) {
            let angle = position as f64 * f;
            *cos = (self.factor * libm::cos(angle)) as f32;
            *sin = (self.factor * libm::sin(angle)) as f32;
        }
    }

    /// Rotate-half RoPE of the first dimensions of a head.
    fn turn(&self, head: &mut [f32]) {
        let half = self.frequencies.len();
        let (cos, sin) = self.values.split_at(half);
        for j in 0..half {
            let (a, b) = (head[j], head[half + j]);
            head[j] = a * cos[j] - b * sin[j];
            head[half + j] = b * cos[j] + a * sin[j];
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
    /// Output of attention while the MLP reads what attention read; only with `parallel_residual`.
    beside: Vec<f32>,
    /// `[intermediate]`; `up` only with a gate.
    gate: Vec<f32>,
    up: Vec<f32>,
    scores: Vec<f32>,
    /// A key or value of one head, read from the cache.
    line: Vec<f32>,
    /// Of all layers, and of those with `local_rope_theta`.
    rotations: [Rotation; 2],
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
        let expands = [map.embedding, map.lm_head].into_iter().any(single)
            || (map.layer_modes.iter()).any(|l| c.matrices().any(|kind| single(l.get(kind))));
        let pairs = |local: bool| {
            let of = |layer| c.rotates(layer) && c.rotates_locally(layer) == local;
            match (0..c.num_layers).any(of) {
                true => c.rotary_dim() / 2,
                false => 0,
            }
        };
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
            beside: zeros(if c.parallel_residual {
                c.hidden_size
            } else {
                0
            })?,
            gate: zeros(c.intermediate_size)?,
            up: zeros(if c.use_swiglu { c.intermediate_size } else { 0 })?,
            scores: zeros(context)?,
            line: zeros(c.head_dim())?,
            rotations: [
                Rotation::new(
                    pairs(false),
                    |j| c.rope_frequency(j),
                    c.rope_attention_factor(),
                )?,
                Rotation::new(pairs(true), |j| c.local_rope_frequency(j), 1.0)?,
            ],
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
        softcap(&mut self.logits, c.logit_softcap);
        Ok(&mut self.logits)
    }

    /// Through all layers, into the residual stream and the cache.
    fn token(&mut self, model: &Model, id: u32) {
        let c = &model.config;
        expand_row(&model.embedding, id as usize, &mut self.x);
        if let Some(factor) = c.embedding_multiplier {
            self.x.iter_mut().for_each(|x| *x *= factor);
        }
        if let Some(positions) = &model.positions {
            let row = &positions.0[self.used * c.hidden_size..][..c.hidden_size];
            for (x, p) in self.x.iter_mut().zip(row) {
                *x += f32::from_le_bytes(*p);
            }
        }
        for rotation in &mut self.rotations {
            rotation.set_position(self.used);
        }
        for (i, layer) in model.layers.iter().enumerate() {
            self.attention(c, layer, i);
            if c.parallel_residual {
                self.beside.copy_from_slice(&self.branch[..c.hidden_size]);
                self.mlp(c, layer);
                add_branch(c, &mut self.x, &self.beside);
            } else {
                add_branch(c, &mut self.x, &self.branch);
                self.mlp(c, layer);
            }
            add_branch(c, &mut self.x, &self.branch);
        }
    }

    fn attention(&mut self, c: &ModelConfig, layer: &Layer, index: usize) {
        let eps = c.rms_norm_eps;
        let (head_dim, kv_dim) = (c.head_dim(), c.kv_dim());
        let norm = layer.input_norm.as_ref().map(|n| (n, eps));
        self.input.prepare(&self.x, norm);
        self.input.multiply(&layer.q, &mut self.q);
        self.input.multiply(&layer.k, &mut self.k);
        self.input.multiply(&layer.v, &mut self.v);
        if let Some((q, k)) = &layer.qk_norm {
            self.input.normalize_in_place(&mut self.q, q, eps);
            self.input.normalize_in_place(&mut self.k, k, eps);
        }
        if c.rotates(index) {
            let rotation = &self.rotations[usize::from(c.rotates_locally(index))];
            for x in [&mut self.q, &mut self.k] {
                x.chunks_exact_mut(head_dim)
                    .for_each(|head| rotation.turn(head));
            }
        }
        let base = index * self.context * kv_dim;
        let here = base + self.used * kv_dim;
        self.keys.write(here, &self.k);
        self.values.write(here, &self.v);
        let seen = self.used + 1;
        let first = seen - c.window(index).map_or(seen, |window| window.min(seen));
        let scale = c.attention_scale();
        let share = c.num_heads / c.kv_heads();
        let heads = self.q.chunks_exact(head_dim);
        for (h, (q, out)) in heads
            .zip(self.branch.chunks_exact_mut(head_dim))
            .enumerate()
        {
            let at = base + first * kv_dim + h / share * head_dim;
            let scores = &mut self.scores[..seen - first];
            for (t, s) in scores.iter_mut().enumerate() {
                self.keys.read(at + t * kv_dim, &mut self.line);
                *s = math::dot_of_keys(q, &self.line) * scale;
            }
            softcap(scores, c.attention_softcap);
            let max = math::max(scores);
            for s in scores.iter_mut() {
                *s = math::exp(*s - max);
            }
            let inverse = 1.0 / math::sum_by([&*scores], |[s]| s);
            out.fill(0.0);
            for (t, s) in scores.iter().enumerate() {
                let weight = s * inverse;
                self.values.read(at + t * kv_dim, &mut self.line);
                for (o, v) in out.iter_mut().zip(&self.line) {
                    *o += weight * v;
                }
            }
        }
        let norm = layer.attention_sub_norm.as_ref().map(|n| (n, eps));
        self.input.prepare(&self.branch[..c.q_dim()], norm);
        let out = &mut self.branch[..c.hidden_size];
        self.input.multiply(&layer.o, out);
        if let Some(norm) = &layer.attention_output_norm {
            self.input.normalize_in_place(out, norm, eps);
        }
    }

    fn mlp(&mut self, c: &ModelConfig, layer: &Layer) {
        let (eps, activation) = (c.rms_norm_eps, c.activation());
        let norm = layer.mlp_norm.as_ref().map(|n| (n, eps));
        self.input.prepare(&self.x, norm);
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
        if let Some(norm) = &layer.mlp_output_norm {
            self.input.normalize_in_place(out, norm, eps);
        }
    }
}

fn add_branch(c: &ModelConfig, x: &mut [f32], branch: &[f32]) {
    let scale = c.residual_scale();
    for (x, b) in x.iter_mut().zip(branch) {
        *x += scale * b;
    }
}
