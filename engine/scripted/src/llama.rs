//! Parameters of a decoder by their Hugging Face names, and the chains of tokens that it says.

use serde_json::{Value, json};

use crate::{Rng, Tokenizer};

/// What each token is followed by: (token, next).
#[derive(Clone, Debug, Default)]
pub struct Chain(pub Vec<(u32, u32)>);

impl Chain {
    /// After any of `starts` come `pieces` in order, then `end`. A piece occurs once: the model
    /// sees only the last token.
    pub fn walk(tokenizer: &Tokenizer, starts: &[&str], pieces: &[&str], end: &str) -> Self {
        let ids: Vec<u32> = pieces
            .iter()
            .chain([&end])
            .map(|p| tokenizer.id(p))
            .collect();
        for (i, id) in ids.iter().enumerate() {
            assert!(!ids[..i].contains(id), "{:?} comes twice", pieces[i]);
        }
        let starts = starts.iter().map(|s| (tokenizer.id(s), ids[0]));
        Chain(starts.chain(ids.windows(2).map(|w| (w[0], w[1]))).collect())
    }

    /// One more step. A token that already had a next one gets this instead.
    #[must_use]
    pub fn then(mut self, from: u32, to: u32) -> Self {
        self.0.retain(|&(old, _)| old != from);
        self.0.push((from, to));
        self
    }
}

/// One parameter. Values are `f32`, or bytes of a type that safetensors names.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub shape: Vec<usize>,
    /// As safetensors spells it: `F32`, `F16`, `BF16`, `I64`, `BOOL`…
    pub dtype: String,
    pub bytes: Vec<u8>,
}

impl Tensor {
    pub fn f32(shape: &[usize], values: &[f32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{shape:?}");
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self::raw("F32", shape, bytes)
    }

    pub fn ones(n: usize) -> Self {
        Self::f32(&[n], &vec![1.0; n])
    }

    pub fn zeros(shape: &[usize]) -> Self {
        Self::f32(shape, &vec![0.0; shape.iter().product()])
    }

    pub fn raw(dtype: &str, shape: &[usize], bytes: Vec<u8>) -> Self {
        Tensor {
            shape: shape.to_vec(),
            dtype: dtype.into(),
            bytes,
        }
    }

    /// The values of an `F32` tensor.
    pub fn values(&self) -> Vec<f32> {
        assert_eq!(self.dtype, "F32");
        let (four, _) = self.bytes.as_chunks();
        four.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    /// The same values as `F16`.
    pub fn to_f16(&self) -> Self {
        let half = |x: f32| half::f16::from_f32(x).to_le_bytes();
        let bytes = self.values().into_iter().flat_map(half).collect();
        Self::raw("F16", &self.shape, bytes)
    }

    /// The same values as `BF16`.
    pub fn to_bf16(&self) -> Self {
        let half = |x: f32| half::bf16::from_f32(x).to_le_bytes();
        let bytes = self.values().into_iter().flat_map(half).collect();
        Self::raw("BF16", &self.shape, bytes)
    }
}

/// Named parameters, in the order in which they are written.
#[derive(Clone, Debug, Default)]
pub struct Weights(pub Vec<(String, Tensor)>);

impl Weights {
    pub fn get(&self, name: &str) -> &Tensor {
        let found = self.0.iter().find(|(n, _)| n == name);
        &found.unwrap_or_else(|| panic!("no tensor {name}")).1
    }

    /// Put a tensor in place of the one of that name, or at the end.
    pub fn set(&mut self, name: &str, tensor: Tensor) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = tensor,
            None => self.0.push((name.into(), tensor)),
        }
    }

    pub fn remove(&mut self, name: &str) -> Tensor {
        let at = self.0.iter().position(|(n, _)| n == name);
        self.0
            .remove(at.unwrap_or_else(|| panic!("no tensor {name}")))
            .1
    }

    pub fn rename(&mut self, from: &str, to: &str) {
        let tensor = self.remove(from);
        self.0.push((to.into(), tensor));
    }
}

/// The shape of a decoder as Llama, Qwen and BitNet have it.
#[derive(Clone, Debug)]
pub struct Llama {
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    /// Not given: `hidden / heads`, and config.json does not say it.
    pub head_dim: Option<usize>,
    pub ffn: usize,
    pub layers: usize,
    pub context: usize,
    /// The head is the embedding: what such a model says is not scripted.
    pub tied: bool,
    /// `o_proj` and `down_proj` are random too: what such a model says is not scripted, but every
    /// part counts.
    pub real: bool,
    /// Norms over each head's queries and keys, as in Qwen3.
    pub qk_norm: bool,
    /// Norms before `o_proj` and `down_proj`, as in BitNet.
    pub sub_norms: bool,
    pub seed: u64,
}

impl Default for Llama {
    fn default() -> Self {
        Llama {
            hidden: 128,
            heads: 4,
            kv_heads: 2,
            head_dim: None,
            ffn: 256,
            layers: 1,
            context: 512,
            tied: false,
            real: false,
            qk_norm: false,
            sub_norms: false,
            seed: 0,
        }
    }
}

impl Llama {
    /// A model of which every part counts: for comparing one way to run it with another.
    pub fn real() -> Self {
        Llama {
            layers: 2,
            real: true,
            ..Self::default()
        }
    }

    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden / self.heads)
    }

    /// The parameters for a vocabulary of `vocab` tokens. Without a chain the head is random.
    pub fn weights(&self, vocab: usize, chain: &Chain) -> Weights {
        let mut rng = Rng::new(self.seed);
        let (hidden, ffn, d) = (self.hidden, self.ffn, self.head_dim());
        let mut out = Weights::default();

        let mut embedding = rng.normals(vocab * hidden, 1.0);
        for row in embedding.chunks_exact_mut(hidden) {
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        }
        out.set(
            "model.embed_tokens.weight",
            Tensor::f32(&[vocab, hidden], &embedding),
        );
        for layer in 0..self.layers {
            let mut put = |name: &str, tensor| {
                out.set(&format!("model.layers.{layer}.{name}.weight"), tensor);
            };
            let mut matrix = |rows: usize, cols: usize, random: bool| {
                if random {
                    Tensor::f32(&[rows, cols], &rng.normals(rows * cols, 0.1))
                } else {
                    Tensor::zeros(&[rows, cols])
                }
            };
            put("input_layernorm", Tensor::ones(hidden));
            put("self_attn.q_proj", matrix(self.heads * d, hidden, true));
            put("self_attn.k_proj", matrix(self.kv_heads * d, hidden, true));
            put("self_attn.v_proj", matrix(self.kv_heads * d, hidden, true));
            put(
                "self_attn.o_proj",
                matrix(hidden, self.heads * d, self.real),
            );
            put("post_attention_layernorm", Tensor::ones(hidden));
            put("mlp.gate_proj", matrix(ffn, hidden, true));
            put("mlp.up_proj", matrix(ffn, hidden, true));
            put("mlp.down_proj", matrix(hidden, ffn, self.real));
            if self.qk_norm {
                put("self_attn.q_norm", Tensor::ones(d));
                put("self_attn.k_norm", Tensor::ones(d));
            }
            if self.sub_norms {
                put("self_attn.attn_sub_norm", Tensor::ones(self.heads * d));
                put("mlp.ffn_sub_norm", Tensor::ones(ffn));
            }
        }
        out.set("model.norm.weight", Tensor::ones(hidden));
        if !self.tied {
            let mut head = if chain.0.is_empty() {
                rng.normals(vocab * hidden, 1.0)
            } else {
                vec![0.0; vocab * hidden]
            };
            for &(from, to) in &chain.0 {
                let (from, to) = (from as usize * hidden, to as usize * hidden);
                for i in 0..hidden {
                    head[to + i] += 3.0 * embedding[from + i];
                }
            }
            out.set("lm_head.weight", Tensor::f32(&[vocab, hidden], &head));
        }
        out
    }

    /// config.json for a vocabulary of `vocab` tokens.
    pub fn config(&self, vocab: usize) -> Value {
        let (name, kind) = match (self.qk_norm, self.sub_norms) {
            (_, true) => ("BitNetForCausalLM", "bitnet"),
            (true, _) => ("Qwen3ForCausalLM", "qwen3"),
            _ => ("LlamaForCausalLM", "llama"),
        };
        let mut config = json!({
            "architectures": [name], "model_type": kind, "vocab_size": vocab, "hidden_size": self.hidden,
            "intermediate_size": self.ffn, "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "hidden_act": if self.sub_norms { "relu2" } else { "silu" },
            "max_position_embeddings": self.context, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": self.tied, "attention_bias": false, "mlp_bias": false, "torch_dtype": "float32",
        });
        if let Some(d) = self.head_dim {
            config["head_dim"] = json!(d);
        }
        config
    }
}
