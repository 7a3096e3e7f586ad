//! The same decoder written plainly in candle, f64: the oracle for values and, through candle's
//! autograd, for gradients. It shares nothing with the recorded model but the parameter names;
//! quantizers are straight-through, `w + (q(w) − w).detach()`.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::{D, DType, Device, Result, Tensor, Var};

use ternary::config::{
    Activation, LoraConfig, MatrixKind, ModelConfig, NormKind, NormPlacement, QuantMode,
    RopeScaling, WeightScale,
};
use ternary::params;
use ternary::program::DropoutMask;

/// Parameters as candle variables, f64.
pub struct Reference<'a> {
    config: &'a ModelConfig,
    pub vars: HashMap<String, Var>,
    /// α of the soft quantizer; 0 = hard.
    pub alpha: f64,
    /// ε of Arenas.
    pub arenas: f64,
    /// Share of a quantized weight that is the weight itself.
    pub float_share: f64,
    /// Queries, keys and values of every layer of the last forward, as attention multiplies them,
    /// `[batch, heads, seq, head_dim]`.
    states: RefCell<Vec<[Tensor; 3]>>,
    /// Seed and rate of dropout.
    pub dropout: Option<(u32, f32)>,
    lora: Option<&'a LoraConfig>,
}

fn tensor(values: Vec<f64>, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)
}

impl<'a> Reference<'a> {
    /// `values` of every parameter and, with `lora`, of the adapters.
    pub fn new(
        config: &'a ModelConfig,
        values: &HashMap<String, Vec<f32>>,
        lora: Option<&'a LoraConfig>,
    ) -> Result<Self> {
        let mut vars = HashMap::new();
        let adapters = lora.map_or(Vec::new(), |_| params::trained(config, lora));
        for p in params::all(config).into_iter().chain(adapters) {
            let v = values[&p.name].iter().map(|v| f64::from(*v)).collect();
            vars.insert(p.name.clone(), Var::from_tensor(&tensor(v, &p.shape)?)?);
        }
        Ok(Reference {
            config,
            vars,
            alpha: 0.0,
            arenas: 0.0,
            float_share: 0.0,
            states: RefCell::default(),
            dropout: None,
            lora,
        })
    }

    /// The quantized values of a matrix, from the formulas of the papers.
    fn quantized(&self, w: &Tensor, mode: QuantMode) -> Result<Tensor> {
        let c = self.config;
        let (_, cols) = w.dims2()?;
        let mut all: Vec<f64> = w.flatten_all()?.to_vec1()?;
        let low_bit = matches!(mode, QuantMode::Ternary | QuantMode::Binary);
        if low_bit && c.latent_clamp_max > 0.0 {
            let m = f64::from(c.latent_clamp_max);
            all.iter_mut().for_each(|w| *w = w.clamp(-m, m));
        }
        let span = match (mode, c.weight_scale) {
            (QuantMode::EightBit, _) | (_, WeightScale::Row) => cols,
            (_, WeightScale::Group) => c.weight_group_size,
            _ => all.len(),
        };
        let scaled = c.weight_scale != WeightScale::None;
        let mut out = Vec::new();
        for s in all.chunks(span) {
            let n = s.len() as f64;
            let mean_abs = s.iter().map(|w| w.abs()).sum::<f64>() / n;
            let (scale, center, threshold) = match mode {
                QuantMode::EightBit => (
                    s.iter().fold(0.0f64, |m, w| m.max(w.abs())) / 127.0,
                    0.0,
                    0.0,
                ),
                QuantMode::Ternary if c.use_dynamic_threshold => {
                    let d = 0.7 * mean_abs;
                    let kept: Vec<f64> = s.iter().map(|w| w.abs()).filter(|w| *w > d).collect();
                    (kept.iter().sum::<f64>() / kept.len() as f64, 0.0, d)
                }
                QuantMode::Ternary => (mean_abs, 0.0, 0.5 * mean_abs),
                _ => {
                    let mu = if c.binary_centered {
                        s.iter().sum::<f64>() / n
                    } else {
                        0.0
                    };
                    (s.iter().map(|w| (w - mu).abs()).sum::<f64>() / n, mu, 0.0)
                }
            };
            let size = if scaled || mode == QuantMode::EightBit {
                scale
            } else {
                1.0
            };
            out.extend(s.iter().map(|w| match mode {
                QuantMode::EightBit => (w / scale).round() * scale,
                _ if self.alpha > 0.0 => scale * (self.alpha * (w - center) / scale).tanh(),
                QuantMode::Ternary if w.abs() > threshold => size * w.signum(),
                QuantMode::Ternary => 0.0,
                _ => size * if *w >= center { 1.0 } else { -1.0 },
            }));
        }
        tensor(out, w.dims())
    }

    /// Forward weight with the straight-through gradient (times the config's factor for latents).
    fn weight(&self, name: &str, mode: QuantMode) -> Result<Tensor> {
        let w = self.vars[name].as_tensor();
        if !mode.is_quantized() {
            return Ok(w.clone());
        }
        let q = self.quantized(w, mode)?;
        if mode == QuantMode::EightBit {
            return self.blend(&(w + (q - w)?.detach())?, w);
        }
        let c = self.config;
        let m = f64::from(c.latent_clamp_max);
        let clamped = if m > 0.0 { w.clamp(-m, m)? } else { w.clone() };
        let through = (&clamped * f64::from(c.ste_scale_factor))?;
        let ste = self.blend(&(&through + (q - &through)?.detach())?, &clamped)?;
        if c.arenas_initial.is_some() {
            // ε·W takes the same clamped gradient path as the quantized weight.
            let extra = (w * self.arenas)?;
            let inside = if m > 0.0 {
                w.abs()?.le(m)?.to_dtype(w.dtype())?
            } else {
                w.ones_like()?
            };
            let passed = (&extra * &inside)?;
            return ste + (&passed + (extra - &passed)?.detach())?;
        }
        Ok(ste)
    }

    fn blend(&self, quantized: &Tensor, w: &Tensor) -> Result<Tensor> {
        (quantized * (1.0 - self.float_share))? + (w * self.float_share)?
    }

    /// Stream 0 is the embedding's, 1 + 2·layer attention's, 2 + 2·layer the MLP's.
    fn drop(&self, x: Tensor, stream: usize) -> Result<Tensor> {
        let Some((seed, rate)) = self.dropout else {
            return Ok(x);
        };
        let mask = DropoutMask::new(seed, stream as u32, rate);
        let kept = (0..x.elem_count() as u32)
            .map(|i| f64::from(u8::from(mask.keeps(i))) / f64::from(1.0 - rate))
            .collect();
        &x * tensor(kept, x.dims())?
    }

    fn act(&self, x: &Tensor) -> Result<Tensor> {
        let scale = (x.abs()?.max_keepdim(D::Minus1)?.clamp(1e-5, f64::MAX)? / 127.0)?;
        let q = x.broadcast_div(&scale)?.round()?.broadcast_mul(&scale)?;
        x + (q - x)?.detach()
    }

    /// A norm of the residual stream, or of a branch.
    fn stream_norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        if self.config.norm == NormKind::Rms {
            return self.norm(x, name);
        }
        let centered = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centered.sqr()?.mean_keepdim(D::Minus1)?;
        let std = (variance + f64::from(self.config.rms_norm_eps))?.sqrt()?;
        centered
            .broadcast_div(&std)?
            .broadcast_mul(self.vars[name].as_tensor())?
            .broadcast_add(self.vars[&name.replace("weight", "bias")].as_tensor())
    }

    /// c·tanh(x / c).
    fn cap(x: Tensor, cap: Option<f32>) -> Result<Tensor> {
        match cap.map(f64::from) {
            Some(cap) => (x / cap)?.tanh()? * cap,
            None => Ok(x),
        }
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let eps = f64::from(self.config.rms_norm_eps);
        let rms = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
        x.broadcast_div(&rms)?
            .broadcast_mul(self.vars[name].as_tensor())
    }

    fn project(&self, x: &Tensor, name: &str, mode: QuantMode) -> Result<Tensor> {
        let x = if mode.is_quantized() && self.config.activation_bits.is_some() {
            self.act(x)?
        } else {
            x.clone()
        };
        let (b, t, d) = x.dims3()?;
        let x = x.reshape((b * t, d))?;
        let mut y = x.matmul(&self.weight(name, mode)?.t()?)?;
        if let Some(bias) = self.vars.get(&name.replace("weight", "bias")) {
            y = y.broadcast_add(bias.as_tensor())?;
        }
        let adapter = |end| self.vars.get(&name.replace("weight", end));
        if let (Some(lora), Some(down), Some(up)) = (
            self.lora,
            adapter("lora_A.weight"),
            adapter("lora_B.weight"),
        ) {
            // B·(A·x)·α/r, Hu et al. 2021, equation 3 and §4.1.
            let low = x.matmul(&down.t()?)?.matmul(&up.t()?)?;
            y = (y + (low * (lora.alpha / lora.rank as f64))?)?;
        }
        y.reshape((b, t, ()))
    }

    fn rope(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let c = self.config;
        if !c.use_rope || c.layers_without_rope.contains(&layer) {
            return Ok(x.clone());
        }
        let windows = c.sliding_window.is_some()
            && c.windowed_layers
                .as_ref()
                .is_none_or(|l| l.contains(&layer));
        let local = c.local_rope_theta.filter(|_| windows).map(f64::from);
        let (_, _, t, d) = x.dims4()?;
        let rotary = c.rotary_dim.unwrap_or(d);
        let half = rotary / 2;
        let frequency = |j: usize| match local {
            Some(theta) => theta.powf(-2.0 * j as f64 / rotary as f64),
            None => c.rope_frequency(j),
        };
        let angles: Vec<f64> = (0..t)
            .flat_map(|p| (0..half).map(move |j| (p, j)))
            .map(|(p, j)| p as f64 * frequency(j))
            .collect();
        let factor = match (&c.rope_scaling, local) {
            (
                Some(RopeScaling::Yarn {
                    attention_factor, ..
                }),
                None,
            ) => f64::from(*attention_factor),
            _ => 1.0,
        };
        let angles = tensor(angles, &[t, half])?;
        let (cos, sin) = ((angles.cos()? * factor)?, (angles.sin()? * factor)?);
        let rest = x.narrow(3, rotary, d - rotary)?;
        let (low, high) = (x.narrow(3, 0, half)?, x.narrow(3, half, half)?);
        let first = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
        let second = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
        Tensor::cat(&[first, second, rest], 3)
    }

    fn attention(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let c = self.config;
        let (b, t, _) = x.dims3()?;
        let (heads, kv_heads, d) = (c.num_heads, c.kv_heads(), c.head_dim());
        let project = |kind, n| -> Result<Tensor> {
            let m = params::layer_matrix(c, layer, kind);
            self.project(x, &m.name, m.mode)?.reshape((b, t, n, d))
        };
        let (mut q, mut k) = (
            project(MatrixKind::Q, heads)?,
            project(MatrixKind::K, kv_heads)?,
        );
        let v = project(MatrixKind::V, kv_heads)?.transpose(1, 2)?;
        if c.use_qk_norm {
            let norm = |x: Tensor, n: usize, part: &str| -> Result<Tensor> {
                let name = params::layer_norm_name(layer, part);
                if !c.qk_norm_over_heads {
                    return self.norm(&x, &name);
                }
                self.norm(&x.reshape((b, t, n * d))?, &name)?
                    .reshape((b, t, n, d))
            };
            q = norm(q, heads, "self_attn.q_norm")?;
            k = norm(k, kv_heads, "self_attn.k_norm")?;
        }
        (q, k) = (
            q.transpose(1, 2)?.contiguous()?,
            k.transpose(1, 2)?.contiguous()?,
        );
        (q, k) = (self.rope(&q, layer)?, self.rope(&k, layer)?);
        self.states
            .borrow_mut()
            .push([q.clone(), k.clone(), v.contiguous()?]);
        let share = heads / kv_heads;
        let spread = |x: &Tensor| -> Result<Tensor> {
            x.unsqueeze(2)?
                .broadcast_as((b, kv_heads, share, t, d))?
                .reshape((b, heads, t, d))
        };
        let (k, v) = (spread(&k)?, spread(&v.contiguous()?)?);
        let scale = c
            .attention_multiplier
            .map_or(1.0 / (d as f64).sqrt(), f64::from);
        let scores = (q.matmul(&k.t()?.contiguous()?)? * scale)?;
        let scores = Self::cap(scores, c.attention_softcap)?;
        let windowed = c.windowed_layers.as_ref();
        let window = c
            .sliding_window
            .filter(|_| windowed.is_none_or(|l| l.contains(&layer)))
            .unwrap_or(t);
        let unseen = |query: usize, key: usize| key > query || query - key >= window;
        let mask: Vec<f64> = (0..t * t)
            .map(|i| if unseen(i / t, i % t) { -1e9 } else { 0.0 })
            .collect();
        let scores = scores.broadcast_add(&tensor(mask, &[t, t])?)?;
        let e = scores
            .broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?
            .exp()?;
        let p = e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?;
        let mut out = p.matmul(&v)?.transpose(1, 2)?.reshape((b, t, heads * d))?;
        if c.use_sub_norm {
            out = self.norm(
                &out,
                &params::layer_norm_name(layer, "self_attn.attn_sub_norm"),
            )?;
        }
        let m = params::layer_matrix(c, layer, MatrixKind::O);
        self.project(&out, &m.name, m.mode)
    }

    fn mlp(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let c = self.config;
        let project = |x: &Tensor, kind| {
            let m = params::layer_matrix(c, layer, kind);
            self.project(x, &m.name, m.mode)
        };
        let act = |x: &Tensor| -> Result<Tensor> {
            match c.activation() {
                Activation::Silu => x / ((x.neg()?.exp()? + 1.0)?),
                Activation::Relu2 => x.relu()?.sqr(),
                Activation::GeluErf => {
                    let share = ((x / std::f64::consts::SQRT_2)?.erf()? + 1.0)?;
                    (x * 0.5)? * share
                }
                Activation::Gelu => {
                    let inner =
                        ((x + (x.powf(3.0)? * 0.044715)?)? * (2.0 / std::f64::consts::PI).sqrt())?;
                    (x * 0.5)? * (inner.tanh()? + 1.0)?
                }
            }
        };
        let up = project(x, MatrixKind::Up)?;
        let mut hidden = if c.use_swiglu {
            (act(&project(x, MatrixKind::Gate)?)? * up)?
        } else {
            act(&up)?
        };
        if c.use_sub_norm {
            hidden = self.norm(&hidden, &params::layer_norm_name(layer, "mlp.ffn_sub_norm"))?;
        }
        project(&hidden, MatrixKind::Down)
    }

    /// Logits `[batch, seq, vocab]` of `ids` `[batch·seq]`.
    pub fn logits(&self, ids: &[u32], batch: usize) -> Result<Tensor> {
        let c = self.config;
        self.states.borrow_mut().clear();
        let t = ids.len() / batch;
        let map = c.bit_map();
        let ids = Tensor::from_vec(ids.to_vec(), ids.len(), &Device::Cpu)?;
        let table = self.weight(params::EMBEDDING, map.embedding)?;
        let mut x = table
            .index_select(&ids, 0)?
            .reshape((batch, t, c.hidden_size))?;
        x = (x * f64::from(c.embedding_multiplier.unwrap_or(1.0)))?;
        if !c.use_rope {
            let positions = self.vars[params::POSITIONS].as_tensor().narrow(0, 0, t)?;
            x = x.broadcast_add(&positions)?;
        }
        x = self.drop(x, 0)?;
        let scale = f64::from(c.residual_scale());
        for layer in 0..c.num_layers {
            let before = c.norm_placement != NormPlacement::Post;
            let after = c.norm_placement != NormPlacement::Pre;
            let norm = |x: &Tensor, part: &str, there: bool| match there {
                true => self.stream_norm(x, &params::layer_norm_name(layer, part)),
                false => Ok(x.clone()),
            };
            let h = norm(&x, "input_layernorm", before)?;
            let branch = norm(&self.attention(&h, layer)?, "self_attn.output_norm", after)?;
            let branch = (self.drop(branch, 2 * layer + 1)? * scale)?;
            let between = (&x + branch)?;
            let h = if c.parallel_residual { &x } else { &between };
            let h = norm(h, "post_attention_layernorm", before)?;
            let branch = norm(&self.mlp(&h, layer)?, "mlp.output_norm", after)?;
            x = (between + (self.drop(branch, 2 * layer + 2)? * scale)?)?;
        }
        let x = self.stream_norm(&x, params::FINAL_NORM)?;
        let head = params::lm_head(c);
        Self::cap(self.project(&x, &head.name, head.mode)?, c.logit_softcap)
    }

    /// Mean cross-entropy in nats plus z-loss.
    pub fn loss(&self, ids: &[u32], targets: &[u32], batch: usize, z: f64) -> Result<Tensor> {
        let logits = self.logits(ids, batch)?;
        let n = targets.len();
        let logits = logits.reshape((n, self.config.vocab_size))?;
        let max = logits.max_keepdim(D::Minus1)?.detach();
        let lse = (logits
            .broadcast_sub(&max)?
            .exp()?
            .sum_keepdim(D::Minus1)?
            .log()?
            + max)?;
        let targets = Tensor::from_vec(targets.to_vec(), (n, 1), &Device::Cpu)?;
        let nll = (&lse - logits.gather(&targets, 1)?)?;
        (nll + (lse.sqr()? * z)?)?.mean_all()
    }

    /// Mean over pairs of sequences, the chosen one first, of −ln σ(β·(r(chosen) − r(rejected)))
    /// with r = ln(π / π_ref), `base` being the reference.
    pub fn preference_loss(
        &self,
        base: &Reference,
        ids: &[u32],
        targets: &[u32],
        pairs: usize,
        beta: f64,
    ) -> Result<Tensor> {
        let n = targets.len();
        let at = Tensor::from_vec(targets.to_vec(), (n, 1), &Device::Cpu)?;
        let log_probability = |model: &Reference| -> Result<Tensor> {
            let x = model.logits(ids, 2 * pairs)?;
            let x = x.reshape((n, self.config.vocab_size))?;
            let x = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
            let x = x.broadcast_sub(&x.exp()?.sum_keepdim(D::Minus1)?.log()?)?;
            x.gather(&at, 1)?
                .reshape((pairs, 2, n / (2 * pairs)))?
                .sum(2)
        };
        let ratio = (log_probability(self)? - log_probability(base)?.detach())?;
        let margin = ((ratio.narrow(1, 0, 1)? - ratio.narrow(1, 1, 1)?)? * beta)?;
        (margin.neg()?.exp()? + 1.0)?.log()?.mean_all()
    }

    /// (1 − w)·cross-entropy + w·T²·KL(softmax(teacher / T) ‖ softmax(z / T)), means over the
    /// tokens; teacher `[n, vocab]`.
    pub fn distilled_loss(
        &self,
        ids: &[u32],
        targets: &[u32],
        batch: usize,
        teacher: &Tensor,
        (weight, temperature): (f64, f64),
    ) -> Result<Tensor> {
        let logits = self.logits(ids, batch)?.reshape(teacher.dims())?;
        let log_softmax = |x: &Tensor| -> Result<Tensor> {
            let x = (x / temperature)?;
            let x = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
            x.broadcast_sub(&x.exp()?.sum_keepdim(D::Minus1)?.log()?)
        };
        let (p, q) = (log_softmax(teacher)?.detach(), log_softmax(&logits)?);
        let kl = (p.exp()? * (p - q)?)?.sum(D::Minus1)?.mean_all()?;
        (self.loss(ids, targets, batch, 0.0)? * (1.0 - weight))?
            + (kl * (weight * temperature * temperature))?
    }

    /// Of the last forward: Σ weight · mean over tokens and heads of KL(p ‖ q), p and q the softmax
    /// of A·Aᵀ/√d over the tokens, for A the queries, keys and values of the `teacher`'s last
    /// forward, and of this one's, cut into this one's heads.
    pub fn relation_loss(
        &self,
        layer: usize,
        teacher: &Reference,
        teacher_layer: usize,
        weights: [f32; 3],
    ) -> Result<Tensor> {
        let (own, theirs) = (self.states.borrow(), teacher.states.borrow());
        let mut total = Tensor::zeros((), DType::F64, &Device::Cpu)?;
        for (i, weight) in weights.into_iter().enumerate() {
            let (a, b) = (&own[layer][i], &theirs[teacher_layer][i]);
            let heads = a.dim(1)?;
            let log_relations = |a: &Tensor| -> Result<Tensor> {
                let (batch, count, t, d) = a.dims4()?;
                let a = a.transpose(1, 2)?.contiguous()?;
                let a = a.reshape((batch, t, heads, count * d / heads))?;
                let a = a.transpose(1, 2)?.contiguous()?;
                let width = (count * d / heads) as f64;
                let x = (a.matmul(&a.t()?.contiguous()?)? / width.sqrt())?;
                let x = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
                x.broadcast_sub(&x.exp()?.sum_keepdim(D::Minus1)?.log()?)
            };
            let (p, q) = (log_relations(b)?.detach(), log_relations(a)?);
            let kl = (p.exp()? * (p - q)?)?.sum(D::Minus1)?.mean_all()?;
            total = (total + (kl * f64::from(weight))?)?;
        }
        Ok(total)
    }
}
