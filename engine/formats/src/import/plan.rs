//! What every matrix becomes: its mode, where its codes come from, and the granularity of scales
//! that all can be carried in.

use std::collections::{BTreeMap, BTreeSet};

use super::Options;
use crate::onebit::Packing;
use crate::source::ImportError;
use crate::source::checkpoint::{BAND, Checkpoint, SourceTensor};
use crate::source::storage::Span;
use ternary_core::config::{
    LayerBitMap, LayerMode, MatrixModes, ModelConfig, QuantMode, WeightScale,
};
use ternary_core::params::{self, ParamKind};

/// The group sizes of a `.1bit`.
const GROUPS: [usize; 4] = [256, 128, 64, 32];

/// What a file's matrix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Codes with scales.
    Codes(QuantMode, Span),
    /// Floats of three values a row: 0 and ± the row's scale.
    TernaryFloats(Span),
    /// Floats that the model rounds to absmean ternary in its forward pass.
    Masters,
    Floats,
}

impl Found {
    /// The mode that carries it exactly.
    fn mode(self) -> Option<QuantMode> {
        match self {
            Found::Codes(mode, _) => Some(mode),
            Found::TernaryFloats(_) | Found::Masters => Some(QuantMode::Ternary),
            Found::Floats => None,
        }
    }

    fn span(self) -> Span {
        match self {
            Found::Codes(_, span) | Found::TernaryFloats(span) => span,
            Found::Masters | Found::Floats => Span::Tensor,
        }
    }
}

pub(crate) struct Plan {
    /// With bit-map and scales.
    pub config: ModelConfig,
    /// Of every matrix, by name.
    pub found: BTreeMap<String, Found>,
    pub packing: Packing,
}

/// With `check`, codes that are not ternary make a matrix floats; else they are met when it is
/// read.
pub(crate) async fn plan(
    c: &Checkpoint<'_>,
    options: &Options,
    check: bool,
) -> Result<Plan, ImportError> {
    let mut config = c.config.clone();
    if let Some(context) = options.context {
        if context == 0 || context > config.max_seq_len {
            return Err(ImportError::Input(format!(
                "a context of {context} was asked for; the model's is {}",
                config.max_seq_len
            )));
        }
        config.max_seq_len = context;
    }
    // Sizes are checked before anything is made from them.
    config.layer_bit_map = None;
    config.validate()?;
    check_tensors(c, &config)?;
    let mut found = BTreeMap::new();
    let mut layers = Vec::new();
    for layer in 0..config.num_layers {
        let mut kinds = Vec::new();
        for kind in config.matrices() {
            let name = params::layer_matrix(&config, layer, kind).name;
            let what = look(c, &name, check).await?;
            kinds.push((kind, what));
            found.insert(name, what);
        }
        layers.push(kinds);
    }
    let plain = found.values().all(|what| *what == Found::Floats);
    let body = match options.body {
        Some(mode) => mode,
        None if plain => QuantMode::EightBit,
        None => QuantMode::F16,
    };
    let layers = layers.into_iter().map(|kinds| {
        let mut modes = MatrixModes::all(body);
        for (kind, what) in kinds {
            if let Some(own) = what.mode() {
                modes.set(kind, own);
            }
        }
        LayerMode::from(modes)
    });
    let layers = layers.collect();
    let (embedding, lm_head) = ends(c, &config, &mut found, check).await?;
    let end = |what: Found| match what.mode() {
        Some(mode) if options.keep_head => mode,
        _ => options.head,
    };
    let own = LayerBitMap {
        embedding: end(embedding),
        layer_modes: layers,
        lm_head: end(lm_head),
    };
    config.layer_bit_map = Some(match &options.bit_map {
        Some(text) => LayerBitMap::from_json(text, config.num_layers)
            .map_err(|e| ImportError::Input(e.to_string()))?,
        None => own,
    });
    let ends = [params::EMBEDDING, params::LM_HEAD];
    let mut body = found
        .iter()
        .filter(|(name, _)| !ends.contains(&name.as_str()));
    let ternary = body.any(|(_, f)| *f != Found::Floats);
    let int8 = options
        .int8_activations
        .or(c.int8_activations)
        .unwrap_or(ternary);
    config.activation_bits = int8.then_some(8);
    granularity(&mut config, &found)?;
    config.validate()?;
    Ok(Plan {
        packing: packing(c, &config, &found),
        config,
        found,
    })
}

/// Ternary codes stay the two bits they mostly come in, and the scales of blocks the F16 numbers
/// that they are.
pub(super) fn packing(
    c: &Checkpoint<'_>,
    config: &ModelConfig,
    found: &BTreeMap<String, Found>,
) -> Packing {
    let halves = |m: &params::Matrix| {
        matches!(found.get(&m.name), Some(Found::Codes(mode, Span::Group(_))) if *mode == m.mode)
            && !c.factors.contains_key(&m.name)
    };
    let mut low = params::matrices(config).filter(|m| m.mode.is_latent());
    match low.all(|m| halves(&m)) {
        true => Packing::HalfScales,
        false => Packing::Ternary2,
    }
}

/// What embedding and head are in the file: codes, or floats, which no model quantizes by itself.
async fn ends(
    c: &Checkpoint<'_>,
    config: &ModelConfig,
    found: &mut BTreeMap<String, Found>,
    check: bool,
) -> Result<(Found, Found), ImportError> {
    let mut both = [Found::Floats; 2];
    for (what, name) in both.iter_mut().zip([params::EMBEDDING, params::LM_HEAD]) {
        if name == params::LM_HEAD && config.tie_word_embeddings {
            *what = found[params::EMBEDDING];
            continue;
        }
        let t = c.tensor(name)?;
        if let Some((mode, span)) = t.storage.codes()
            && !(check && c.has_plus_two(t).await?)
        {
            *what = Found::Codes(mode, span);
        }
        found.insert(name.to_owned(), *what);
    }
    let [embedding, head] = both;
    Ok((embedding, head))
}

/// Every tensor that the model needs must be there in its shape, and no other: what is not used
/// would change the results.
fn check_tensors(c: &Checkpoint<'_>, config: &ModelConfig) -> Result<(), ImportError> {
    let mut used = BTreeSet::new();
    for p in params::all(config) {
        let t = c.tensor(&p.name)?;
        // Learned positions may be for a longer context.
        let fits = match (p.kind == ParamKind::Positions, t.shape.as_slice()) {
            (true, [rows, cols]) => *rows >= p.shape[0] && *cols == p.shape[1],
            _ => t.shape == p.shape,
        };
        if !fits {
            return Err(ImportError::Shape {
                tensor: t.name.clone(),
                found: t.shape.clone(),
                expected: p.shape,
            });
        }
        if !t.storage.is_plain() && !matches!(p.kind, ParamKind::Matrix(_)) {
            return Err(t.damaged(
                "it is no matrix and of a type that is not supported for such tensors; F64, F32, F16 and BF16 are".into(),
            ));
        }
        used.insert(p.name);
    }
    if config.tie_word_embeddings {
        // A tied head may be stored a second time; it is the embedding.
        used.insert(params::LM_HEAD.into());
    }
    // What is empty holds nothing that could matter.
    let odd = c.odd.iter().filter(|(_, why)| why.as_str() != "empty");
    let left = c.tensors.iter().map(|(name, t)| (name, t.name.as_str()));
    let left = left.chain(odd.map(|(name, _)| (name, name.as_str())));
    let left: Vec<&str> = left
        .filter(|(name, _)| !used.contains(*name))
        .map(|(_, shown)| shown)
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(ImportError::Unsupported {
        what: "a part of the model".into(),
        found: format!(
            "unknown to a {} decoder: {}{}",
            c.architecture,
            left[..left.len().min(4)].join(", "),
            if left.len() > 4 { ", …" } else { "" }
        ),
        supported: "embedding, norms, q, k, v, o, gate, up and down with their biases, and head"
            .into(),
    })
}

/// What a matrix of the body is in the file.
async fn look(c: &Checkpoint<'_>, name: &str, check: bool) -> Result<Found, ImportError> {
    let t = c.tensor(name)?;
    if let Some((mode, span)) = t.storage.codes() {
        let is_floats = check && c.has_plus_two(t).await?;
        return Ok(match is_floats {
            true => Found::Floats,
            false => Found::Codes(mode, span),
        });
    }
    if c.is_master(name) {
        return Ok(Found::Masters);
    }
    // Beside matrices that are codes, floats are meant as floats.
    let coded = c.tensors.values().any(|t| t.storage.codes().is_some());
    if t.storage.is_plain() && c.masters.is_none() && !coded {
        return ternary_floats(c, t).await;
    }
    Ok(Found::Floats)
}

/// Whether all values of every row are 0 or ± one number. Most float matrices are found out in
/// their first row.
async fn ternary_floats(c: &Checkpoint<'_>, t: &SourceTensor) -> Result<Found, ImportError> {
    let (rows, cols) = (t.rows(), t.cols());
    let mut tensor_scale = None;
    let mut span = Span::Tensor;
    let mut first = 0;
    while first < rows {
        let n = if first == 0 {
            1
        } else {
            (BAND / cols).max(1).min(rows - first)
        };
        for row in c.floats(t, first, n).await?.chunks_exact(cols) {
            let scale = row_scale(row);
            if row.iter().any(|v| *v != 0.0 && v.abs() != scale) {
                return Ok(Found::Floats);
            }
            if scale > 0.0 && *tensor_scale.get_or_insert(scale) != scale {
                span = Span::Row;
            }
        }
        first += n;
    }
    Ok(match tensor_scale {
        Some(_) => Found::TernaryFloats(span),
        None => Found::Floats,
    })
}

/// The largest magnitude of a row.
pub(crate) fn row_scale(row: &[f32]) -> f32 {
    row.iter().fold(0.0, |most, v| most.max(v.abs()))
}

/// The coarsest scales that every ternary and binary matrix can be written with, by repeating its
/// own.
pub(super) fn granularity(
    config: &mut ModelConfig,
    found: &BTreeMap<String, Found>,
) -> Result<(), ImportError> {
    let finest = params::all(config)
        .into_iter()
        .filter_map(|p| match p.kind {
            ParamKind::Matrix(m) if m.mode.is_latent() => {
                let found = found.get(&m.name).copied().unwrap_or(Found::Floats);
                // What is quantized anew has one scale.
                match found.mode() == Some(m.mode) {
                    true => Some(found.span()),
                    false => Some(Span::Tensor),
                }
            }
            _ => None,
        })
        .min();
    config.weight_scale = match finest {
        None | Some(Span::Row) => WeightScale::Row,
        Some(Span::Tensor) => WeightScale::Tensor,
        Some(Span::Group(finest)) => {
            // Groups are of all matrices, whatever they hold.
            let widths: BTreeSet<usize> = config
                .matrices()
                .map(|kind| config.matrix_shape(kind).1)
                .collect();
            let fits = |g: &usize| *g <= finest && widths.iter().all(|w| w.is_multiple_of(*g));
            let group = GROUPS.into_iter().find(fits);
            config.weight_group_size = group.ok_or_else(|| ImportError::Unsupported {
                what: "the width of the matrices".into(),
                found: format!("{widths:?}, with scales for every {finest} columns of some"),
                supported: "widths that groups of 32 columns divide".into(),
            })?;
            WeightScale::Group
        }
    };
    Ok(())
}
