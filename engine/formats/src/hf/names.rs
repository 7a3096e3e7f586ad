//! The tensors of a Hugging Face checkpoint under this project's names.

use std::collections::BTreeMap;

use super::config::Family;
use crate::safetensors::head::Contents;
use crate::source::ImportError;
use crate::source::checkpoint::{Lies, SourceTensor};
use ternary_core::config::{MatrixKind, ModelConfig};
use ternary_core::params;

/// A tensor's name without what torch.compile and data parallel put before it, in any order.
fn unwrapped(name: &str) -> &str {
    let inner = ["_orig_mod.", "module."]
        .into_iter()
        .find_map(|wrapper| name.strip_prefix(wrapper));
    inner.map_or(name, unwrapped)
}

/// What a tensor is that inference does not need; `None` for all others.
fn leftover(name: &str) -> Option<&'static str> {
    let last = name.rsplit('.').next().unwrap_or_default();
    let ends = |end: &str| name.ends_with(end);
    if last.contains("inv_freq")
        || ["cos_cached", "sin_cached", "freqs_cis"].contains(&last)
        || ends("rope.freqs")
    {
        return Some("a table that follows from the configuration");
    }
    if last == "position_ids" || last == "token_type_ids" {
        return Some("a list of positions");
    }
    let mask = ["masked_bias", "causal_mask", "attention_mask", "attn_mask"].contains(&last);
    if mask
        || [".self_attn.bias", ".attn.bias", ".attention.bias"]
            .into_iter()
            .any(ends)
    {
        return Some("a mask");
    }
    let cache = [
        "cache",
        "k_cache",
        "v_cache",
        "kv_cache",
        "cache_k",
        "cache_v",
        "key_cache",
        "value_cache",
    ];
    if unwrapped(name).starts_with("v_head.") || unwrapped(name).starts_with("score.") {
        return Some("a head for rewards or classes, which texts do not need");
    }
    if cache.contains(&last) || last == "num_batches_tracked" {
        return Some("a state of a run");
    }
    None
}

/// Tensors under this project's names.
pub(super) struct Names {
    pub tensors: BTreeMap<String, SourceTensor>,
    /// Those that no parameter can be, and why.
    pub odd: BTreeMap<String, String>,
    /// `inner_attn_ln` and `ffn_layernorm`, 1bitLLM's.
    pub old_sub_norms: bool,
}

/// This project's name of a tensor; its own if it is no parameter that the family has.
fn our_name(family: Family, name: &str) -> String {
    let plain = unwrapped(name);
    let prefixes = family.prefixes().iter();
    let inner = prefixes
        .filter_map(|prefix| plain.strip_prefix(prefix))
        .next();
    let inner = inner.unwrap_or(plain);
    let Some((module, end)) = inner.rsplit_once('.') else {
        return plain.to_owned();
    };
    let layers = ["layers.", "h."].into_iter();
    let layer = layers
        .filter_map(|prefix| module.strip_prefix(prefix))
        .next();
    match layer.and_then(|rest| rest.split_once('.')) {
        Some((layer, part)) if layer.parse::<usize>().is_ok() => {
            format!("model.layers.{layer}.{}.{end}", family.renamed(part))
        }
        _ => format!("{}.{end}", family.renamed(module)),
    }
}

impl Names {
    pub fn of(
        family: Family,
        found: Contents,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ImportError> {
        let mut names = Names {
            tensors: BTreeMap::new(),
            odd: BTreeMap::new(),
            old_sub_norms: false,
        };
        for (name, why) in found.odd {
            match leftover(&name) {
                Some(what) => warnings.push(format!("tensor {name} is left out: {what}")),
                None => {
                    names.odd.insert(our_name(family, &name), why);
                }
            }
        }
        for (name, t) in found.tensors {
            if let Some(what) = leftover(&name) {
                warnings.push(format!("tensor {name} is left out: {what}"));
                continue;
            }
            names.old_sub_norms |=
                name.contains("inner_attn_ln.") || name.contains("ffn_layernorm.");
            let ours = our_name(family, &name);
            if let Some(other) = names.tensors.insert(ours, t) {
                return Err(other.damaged(format!("{name} is the same parameter of the model")));
            }
        }
        Ok(names)
    }

    /// An embedding that is stored as the head, where both are one matrix.
    pub fn tie(&mut self, tied: Option<bool>) {
        let place = |t: &SourceTensor| (t.file, t.offset);
        match (
            self.tensors.get(params::EMBEDDING),
            self.tensors.get(params::LM_HEAD),
        ) {
            (None, Some(head))
                if tied != Some(false) && !self.odd.contains_key(params::EMBEDDING) =>
            {
                self.tensors.insert(params::EMBEDDING.into(), head.clone());
                self.tensors.remove(params::LM_HEAD);
            }
            (Some(embedding), Some(head))
                if tied != Some(false) && place(embedding) == place(head) =>
            {
                self.tensors.remove(params::LM_HEAD);
            }
            _ => {}
        }
    }

    pub fn has(&self, part: &str) -> bool {
        self.tensors.keys().any(|name| name.contains(part))
    }

    /// The matrices that a family keeps in one, each by itself; norms that it uses twice, twice.
    pub fn separate(&mut self, family: Family, c: &ModelConfig) -> Result<(), ImportError> {
        use MatrixKind::{Gate, K, Q, Up, V};
        for layer in 0..c.num_layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            match family {
                Family::Phi3 => {
                    self.stacked(&name("self_attn.qkv_proj"), c, layer, &[Q, K, V])?;
                    self.stacked(&name("mlp.gate_up_proj"), c, layer, &[Gate, Up])?;
                }
                Family::GptNeoX => self.by_head(&name("attention.query_key_value"), c, layer)?,
                Family::Gpt2 => {
                    self.columns(&name("attn.c_attn"), c, layer, &[Q, K, V])?;
                    for kind in [MatrixKind::O, Up, MatrixKind::Down] {
                        self.columns(&name(kind.module()), c, layer, &[kind])?;
                    }
                }
                Family::StableLm if c.parallel_residual => {
                    for end in ["weight", "bias"] {
                        let of = |part: &str| name(&format!("{part}.{end}"));
                        let one = self
                            .tensors
                            .get(&of(params::norms::ATTENTION_INPUT))
                            .cloned();
                        let twice = of(params::norms::MLP_INPUT);
                        if let (Some(one), false) = (one, self.tensors.contains_key(&twice)) {
                            self.tensors.insert(twice, one);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A tensor, and its length along the first axis; `None` if it is not there.
    fn take(
        &mut self,
        name: &str,
        expected: Vec<usize>,
    ) -> Result<Option<SourceTensor>, ImportError> {
        let Some(t) = self.tensors.remove(name) else {
            return Ok(None);
        };
        if t.shape == expected {
            return Ok(Some(t));
        }
        Err(ImportError::Shape {
            tensor: t.name,
            found: t.shape,
            expected,
        })
    }

    fn put(&mut self, layer: usize, kind: MatrixKind, end: &str, t: SourceTensor) {
        let name = format!("model.layers.{layer}.{}.{end}", kind.module());
        self.tensors.insert(name, t);
    }

    /// Matrices whose rows are behind each other in one.
    fn stacked(
        &mut self,
        module: &str,
        c: &ModelConfig,
        layer: usize,
        kinds: &[MatrixKind],
    ) -> Result<(), ImportError> {
        let rows = |kind: &MatrixKind| c.matrix_shape(*kind).0;
        let all: usize = kinds.iter().map(rows).sum();
        for (end, shape) in [("weight", vec![all, c.hidden_size]), ("bias", vec![all])] {
            let Some(t) = self.take(&format!("{module}.{end}"), shape)? else {
                continue;
            };
            let counts: Vec<usize> = kinds.iter().map(rows).collect();
            for (kind, part) in kinds.iter().zip(t.in_parts(&counts)?) {
                self.put(layer, *kind, end, part);
            }
        }
        Ok(())
    }

    /// Queries, keys and values head by head: `[heads, 3, head_dim]` rows.
    fn by_head(&mut self, module: &str, c: &ModelConfig, layer: usize) -> Result<(), ImportError> {
        let (head_dim, all) = (c.head_dim(), 3 * c.q_dim());
        for (end, shape) in [("weight", vec![all, c.hidden_size]), ("bias", vec![all])] {
            let Some(t) = self.take(&format!("{module}.{end}"), shape)? else {
                continue;
            };
            let row_bytes = t.bytes / all as u64;
            for (i, kind) in [MatrixKind::Q, MatrixKind::K, MatrixKind::V]
                .into_iter()
                .enumerate()
            {
                let mut shape = t.shape.clone();
                shape[0] = c.q_dim();
                let part = SourceTensor {
                    shape,
                    offset: t.offset + (i * head_dim) as u64 * row_bytes,
                    lies: Lies::Runs {
                        run: head_dim,
                        step: 3 * head_dim,
                    },
                    ..t.clone()
                };
                self.put(layer, kind, end, part);
            }
        }
        Ok(())
    }

    /// Matrices stored `[inputs, outputs]`, side by side.
    fn columns(
        &mut self,
        module: &str,
        c: &ModelConfig,
        layer: usize,
        kinds: &[MatrixKind],
    ) -> Result<(), ImportError> {
        let width: usize = kinds.iter().map(|kind| c.matrix_shape(*kind).0).sum();
        let inputs = kinds.first().map_or(0, |kind| c.matrix_shape(*kind).1);
        if let Some(t) = self.take(&format!("{module}.weight"), vec![inputs, width])? {
            let mut first = 0;
            for kind in kinds {
                let (rows, cols) = c.matrix_shape(*kind);
                let part = SourceTensor {
                    shape: vec![rows, cols],
                    lies: Lies::Columns { first, width },
                    ..t.clone()
                };
                self.put(layer, *kind, "weight", part);
                first += rows;
            }
        }
        if let Some(t) = self.take(&format!("{module}.bias"), vec![width])? {
            let counts: Vec<usize> = kinds.iter().map(|kind| c.matrix_shape(*kind).0).collect();
            for (kind, part) in kinds.iter().zip(t.in_parts(&counts)?) {
                self.put(layer, *kind, "bias", part);
            }
        }
        Ok(())
    }
}
