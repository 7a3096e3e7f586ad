//! Another file beside a model, and the loss and the file of the model in another bit-map.

use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::protocol::Event;
use super::weights::read;
use super::{LoadedModel, open_backend};
use crate::DeviceChoice;
use crate::error::{Error, Result};
use ternary_backend::BackendOptions;
use ternary_common::bytes::ByteSource;
use ternary_common::platform::{self, Instant};
use ternary_core::config::{LayerBitMap, ModelConfig};
use ternary_core::layout::{ALIGN, FormatError};
use ternary_core::params;
use ternary_formats::onebit::{Dense, OneBit, Packing, encode};
use ternary_model::Remap;
use ternary_search::{Scorer, Task, Windows};

/// What differs between a matrix of two models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MatrixDiff {
    /// The parameter's name.
    pub name: String,
    /// Of the matrix, in all.
    pub weights: usize,
    /// Codes (of F16 matrices: values) that differ; none where the modes do.
    pub changed: Option<usize>,
}

/// The loss of a text in a bit-map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MapLoss {
    /// The map that was measured.
    pub map: LayerBitMap,
    /// Mean, nats per token.
    pub loss: f64,
    /// exp(loss).
    pub perplexity: f64,
    /// Tokens that were predicted.
    pub tokens: usize,
    /// How long it took.
    pub ms: f64,
}

/// A text being measured in one map after the other; what two maps begin with in common is run
/// once.
pub(super) struct MapScorer {
    text: String,
    device: DeviceChoice,
    task: Arc<Task>,
    scorer: Scorer,
}

/// A file beside the loaded one.
pub(super) struct Compared {
    pub source: Rc<dyn ByteSource>,
    pub file: OneBit,
}

/// Bytes of a file's matrices.
pub(super) fn matrix_bytes(file: &OneBit) -> Result<u64, FormatError> {
    params::matrices(&file.metadata.config)
        .map(|m| Ok(file.tensor(&m.name)?.length.next_multiple_of(ALIGN as u64)))
        .sum()
}

/// Counts what differs, matrix by matrix.
///
/// # Errors
/// Files that cannot be read, and models of other sizes.
pub(super) async fn compare(loaded: &LoadedModel, with: &Compared) -> Result<Vec<MatrixDiff>> {
    let (ours, theirs) = (&loaded.file.metadata.config, &with.file.metadata.config);
    let sizes = |c: &ModelConfig| {
        params::matrices(c)
            .map(|m| (m.name, m.rows, m.cols))
            .collect::<Vec<_>>()
    };
    if sizes(ours) != sizes(theirs) {
        return Err(Error::OtherShape {
            name: with.source.name(),
            found: (theirs.num_layers, theirs.hidden_size),
            expected: (ours.num_layers, ours.hidden_size),
        });
    }
    let mut changes = Vec::new();
    for m in params::matrices(ours) {
        let (a, b) = (loaded.file.tensor(&m.name)?, with.file.tensor(&m.name)?);
        let same_mode = a.encoding()?.mode() == b.encoding()?.mode();
        let changed = if same_mode {
            let source = loaded.source.as_ref();
            let (a, _) = read(source, &loaded.file, a, &m, m.rows).await?;
            let (b, _) = read(with.source.as_ref(), &with.file, b, &m, m.rows).await?;
            let width = a.len() / (m.rows * m.cols).max(1);
            let pairs = a
                .chunks_exact(width.max(1))
                .zip(b.chunks_exact(width.max(1)));
            Some(pairs.filter(|(a, b)| a != b).count())
        } else {
            None
        };
        changes.push(MatrixDiff {
            weights: m.rows * m.cols,
            name: m.name,
            changed,
        });
        platform::yield_now().await;
    }
    Ok(changes)
}

/// The file in another bit-map.
pub(super) async fn export(loaded: &LoadedModel, map: &LayerBitMap) -> Result<Vec<u8>> {
    let mut parameters = loaded.file.latents(loaded.source.as_ref()).await?;
    let remap = Remap::new(&loaded.file.metadata.config, &[]);
    let mut metadata = loaded.file.metadata.clone();
    metadata.config = remap.apply(&mut parameters, map)?;
    Ok(encode(metadata, &parameters, Packing::Ternary2, Dense::No)?)
}

impl MapScorer {
    async fn new(
        loaded: &LoadedModel,
        text: &str,
        device: DeviceChoice,
        threads: usize,
    ) -> Result<Self> {
        let tokenizer = loaded.tokenizer()?;
        let config = ModelConfig {
            max_seq_len: loaded.info.context,
            ..loaded.file.metadata.config.clone()
        };
        let windows = Windows::new(
            tokenizer.encode(text)?,
            config.max_seq_len,
            config.vocab_size,
        )?;
        let parameters = loaded.file.latents(loaded.source.as_ref()).await?;
        let task = Arc::new(Task {
            remap: Remap::new(&config, &[]),
            sample: windows.all(),
            config,
            parameters,
            windows,
        });
        let options = BackendOptions {
            threads,
            ..BackendOptions::default()
        };
        let (backend, _) = open_backend(device, &options).await?;
        Ok(MapScorer {
            text: text.to_owned(),
            device,
            scorer: Scorer::new(backend, task.clone())?,
            task,
        })
    }
}

/// The loss of `text` in `map`. The `scorer` of an earlier call with the same text is used again.
pub(super) async fn measure(
    scorer: &mut Option<MapScorer>,
    loaded: &LoadedModel,
    (map, text): (&LayerBitMap, &str),
    (device, threads): (DeviceChoice, usize),
    emit: &mut dyn FnMut(Event),
) -> Result<()> {
    let start = Instant::now();
    let fits = |m: &MapScorer| m.text == text && m.device == device;
    if !scorer.as_ref().is_some_and(fits) {
        *scorer = None;
    }
    let prepared = match scorer {
        Some(same) => same,
        None => scorer.insert(MapScorer::new(loaded, text, device, threads).await?),
    };
    let config = ModelConfig {
        layer_bit_map: Some(map.clone()),
        ..prepared.task.config.clone()
    };
    config.validate()?;
    let loss = prepared.scorer.sampled(map).await?;
    emit(Event::Measured {
        measured: Box::new(MapLoss {
            map: map.clone(),
            loss,
            perplexity: libm::exp(loss),
            tokens: prepared.task.windows.tokens(),
            ms: start.elapsed().as_secs_f64() * 1e3,
        }),
    });
    Ok(())
}
