//! The loss of a bit-map on a backend, with the layers that it shares with the map before left out.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use ternary_backend::{Backend, ProgramId, elements};
use ternary_core::config::{LayerBitMap, LayerMode, ModelConfig, QuantMode};
use ternary_core::params;
use ternary_model as model;
use ternary_model::program::{BufferId, BufferKind, RunParams};
use ternary_model::{Parameters, RopeOwner};
use ternary_model::{Remap, STREAM, Segments};

/// Rows that one run of a program works on, at most (one sequence at least).
const ROWS: usize = 2048;
/// Bytes of residual streams that a scorer keeps; with larger texts it keeps those of fewer layers.
const KEPT_BYTES: usize = 1 << 29;

/// A text cut into windows of `seq` tokens; every token of a window but the first is predicted from
/// those before it, and so is the one after the window.
#[derive(Clone, Debug, PartialEq)]
pub struct Windows {
    /// Tokens per window.
    pub seq: usize,
    ids: Vec<u32>,
}

impl Windows {
    /// Whole windows of `context` tokens from the start of `ids`; one short window if there are not
    /// enough for one.
    ///
    /// # Errors
    /// Fewer than two tokens, or one outside the vocabulary.
    pub fn new(ids: Vec<u32>, context: usize, vocab: usize) -> Result<Self> {
        if ids.len() < 2 {
            return Err(Error::TextTooShort);
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
            return Err(Error::UnknownToken { id: *id, vocab });
        }
        Ok(Windows {
            seq: context.min(ids.len() - 1),
            ids,
        })
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        (self.ids.len() - 1) / self.seq
    }

    /// Never: there is at least one window.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Predicted tokens of all windows.
    pub fn tokens(&self) -> usize {
        self.len() * self.seq
    }

    /// About `tokens` tokens' worth of windows, spread evenly.
    pub fn sample(&self, tokens: usize) -> Vec<usize> {
        let want = (tokens / self.seq).clamp(1, self.len());
        (0..want).map(|i| i * self.len() / want).collect()
    }

    /// Every window.
    pub fn all(&self) -> Vec<usize> {
        (0..self.len()).collect()
    }

    fn inputs(&self, window: usize) -> &[u32] {
        &self.ids[window * self.seq..][..self.seq]
    }

    fn targets(&self, window: usize) -> &[u32] {
        &self.ids[window * self.seq + 1..][..self.seq]
    }
}

/// What the scorers of a search have in common.
#[derive(Debug)]
pub struct Task {
    /// As trained.
    pub config: ModelConfig,
    /// Latents by name.
    pub parameters: Parameters,
    /// What changes with the map.
    pub remap: Remap,
    /// The validation text, cut.
    pub windows: Windows,
    /// Windows that [`Scorer::sampled`] looks at.
    pub sample: Vec<usize>,
}

/// Windows that are run together, and what is kept of them.
struct Chunk {
    windows: Vec<usize>,
    /// The residual stream before each layer, and before the head; none where it is not kept.
    streams: Vec<Option<Vec<u8>>>,
}

struct Embedding {
    id: ProgramId,
    ids: BufferId,
    stream: BufferId,
}

struct Head {
    id: ProgramId,
    targets: BufferId,
    losses: BufferId,
}

/// Scores maps on one backend.
pub struct Scorer {
    backend: Box<dyn Backend>,
    task: Arc<Task>,
    /// Windows run together.
    pub batch: usize,
    embeddings: HashMap<QuantMode, Embedding>,
    layers: HashMap<(usize, LayerMode), ProgramId>,
    heads: HashMap<QuantMode, Head>,
    chunks: Vec<Chunk>,
    /// The map that the kept streams belong to.
    kept: Option<LayerBitMap>,
    /// Layers run so far, over all chunks: what reuse saves shows in it.
    pub layers_run: usize,
}

/// Layers that two maps begin with in common, the embedding included; 0 = not even that.
fn common(a: &LayerBitMap, b: &LayerBitMap) -> usize {
    if a.embedding != b.embedding {
        return 0;
    }
    let layers = a.layer_modes.iter().zip(&b.layer_modes);
    1 + layers.take_while(|(a, b)| a == b).count()
}

impl Scorer {
    /// Upload the model.
    pub fn new(mut backend: Box<dyn Backend>, task: Arc<Task>) -> Result<Self> {
        let mut upload =
            |name: String, values: &[f32]| backend.upload(&name, bytemuck::cast_slice(values));
        for p in params::all(&task.config) {
            let found = task.parameters.get(&p.name);
            let values =
                found
                    .filter(|v| v.len() == p.len())
                    .ok_or_else(|| Error::MissingTensor {
                        name: p.name.clone(),
                        shape: p.shape.clone(),
                    })?;
            upload(BufferKind::Param.named(&p.name), values)?;
        }
        for (name, values) in task.remap.restored(&task.parameters) {
            upload(BufferKind::Restored.named(&name), &values)?;
        }
        for (name, table) in model::rope_tables(&task.config, RopeOwner::Model) {
            upload(name.into(), &table)?;
        }
        let seq = task.windows.seq;
        let batch = (ROWS / seq).clamp(1, task.sample.len().max(1));
        let layers = task.config.num_layers + 1;
        let bytes = task.sample.len() * seq * task.config.hidden_size * 4;
        // Kept evenly, so that a change anywhere finds one near.
        let stride = (bytes * layers).div_ceil(KEPT_BYTES).max(1);
        let chunks = task.sample.chunks(batch).map(|windows| Chunk {
            windows: windows.to_vec(),
            streams: (0..layers)
                .map(|l| l.is_multiple_of(stride).then(Vec::new))
                .collect(),
        });
        Ok(Scorer {
            batch,
            embeddings: HashMap::new(),
            layers: HashMap::new(),
            heads: HashMap::new(),
            chunks: chunks.collect(),
            kept: None,
            layers_run: 0,
            backend,
            task,
        })
    }

    /// Mean loss of the sampled windows, nats per token.
    pub async fn sampled(&mut self, map: &LayerBitMap) -> Result<f64> {
        // Kept streams are of no map while they are being overwritten.
        let before = self.kept.take();
        let shared = before.map_or(0, |before| common(&before, map));
        let mut chunks = std::mem::take(&mut self.chunks);
        let mut total = 0.0;
        for chunk in &mut chunks {
            total += self.chunk(chunk, map, shared).await?;
        }
        self.chunks = chunks;
        self.kept = Some(map.clone());
        Ok(total / (self.task.sample.len() * self.task.windows.seq) as f64)
    }

    /// Sums of the losses of `windows`, one for every [`Scorer::batch`] of them: added up in their
    /// order they are the same sum however the windows were shared out.
    pub async fn sums(&mut self, map: &LayerBitMap, windows: &[usize]) -> Result<Vec<f64>> {
        let mut sums = Vec::new();
        for windows in windows.chunks(self.batch) {
            let mut chunk = Chunk {
                windows: windows.to_vec(),
                streams: vec![None; self.task.config.num_layers + 1],
            };
            sums.push(self.chunk(&mut chunk, map, 0).await?);
        }
        Ok(sums)
    }

    /// Sum of a chunk's losses; its kept streams hold for the first `shared` stages of the map.
    async fn chunk(&mut self, chunk: &mut Chunk, map: &LayerBitMap, shared: usize) -> Result<f64> {
        let layers = self.task.config.num_layers;
        self.prepare(map)?;
        let (embedding, head) = (&self.embeddings[&map.embedding], &self.heads[&map.lm_head]);
        let rows = chunk.windows.len() * self.task.windows.seq;
        let run_params = RunParams {
            rows: rows as u32,
            ..RunParams::default()
        };
        let tokens = |part: fn(&Windows, usize) -> &[u32]| -> Vec<u32> {
            let windows = chunk.windows.iter();
            windows
                .flat_map(|w| part(&self.task.windows, *w))
                .copied()
                .collect()
        };
        let (ids, targets) = (tokens(Windows::inputs), tokens(Windows::targets));
        let kept = |l: &usize| chunk.streams[*l].as_ref().is_some_and(|s| !s.is_empty());
        let first = match (0..shared).rev().find(kept) {
            Some(layer) => {
                let stream = chunk.streams[layer].as_deref().unwrap_or_default();
                self.backend.upload(STREAM, stream)?;
                layer
            }
            None => {
                self.backend
                    .write(embedding.id, embedding.ids, bytemuck::cast_slice(&ids))?;
                self.backend.run(embedding.id, &run_params)?;
                if let Some(stream) = &mut chunk.streams[0] {
                    *stream =
                        read_one(self.backend.as_mut(), embedding.id, embedding.stream).await?;
                }
                0
            }
        };
        for layer in first..layers {
            let id = self.layers[&(layer, map.layer_modes[layer])];
            self.backend.run(id, &run_params)?;
            self.layers_run += 1;
            if let Some(stream) = &mut chunk.streams[layer + 1] {
                *stream = read_one(self.backend.as_mut(), embedding.id, embedding.stream).await?;
            }
        }
        self.backend
            .write(head.id, head.targets, bytemuck::cast_slice(&targets))?;
        self.backend.run(head.id, &run_params)?;
        let losses = read_one(self.backend.as_mut(), head.id, head.losses).await?;
        ternary_common::platform::yield_now().await;
        let losses: Vec<f32> = elements(&losses);
        Ok(losses[..rows].iter().map(|v| f64::from(*v)).sum())
    }

    /// Record what `map` needs and is not recorded yet.
    fn prepare(&mut self, map: &LayerBitMap) -> Result<()> {
        let task = self.task.clone();
        let segments = Segments {
            config: &task.config,
            remap: &task.remap,
            batch: self.batch,
            seq: task.windows.seq,
        };
        if !self.embeddings.contains_key(&map.embedding) {
            let made = segments.embedding(map.embedding);
            let embedding = Embedding {
                id: self.backend.prepare(made.program)?,
                ids: made.ids,
                stream: made.stream,
            };
            self.embeddings.insert(map.embedding, embedding);
        }
        for (layer, modes) in map.layer_modes.iter().enumerate() {
            if !self.layers.contains_key(&(layer, *modes)) {
                let id = self.backend.prepare(segments.layer(layer, *modes))?;
                self.layers.insert((layer, *modes), id);
            }
        }
        if !self.heads.contains_key(&map.lm_head) {
            let made = segments.head(map.lm_head);
            let head = Head {
                id: self.backend.prepare(made.program)?,
                targets: made.targets,
                losses: made.losses,
            };
            self.heads.insert(map.lm_head, head);
        }
        Ok(())
    }
}

async fn read_one(backend: &mut dyn Backend, id: ProgramId, buffer: BufferId) -> Result<Vec<u8>> {
    let mut read = backend.read(id, &[buffer]).await?;
    Ok(read.pop().unwrap_or_default())
}

#[cfg(test)]
#[cfg(feature = "native")]
mod tests {
    use super::*;
    use ternary_backend::cpu::CpuBackend;
    use ternary_common::bytes::MemorySource;
    use ternary_common::data::{Batches, TokenData};
    use ternary_core::config::{MatrixModes, TrainConfig};
    use ternary_core::layout::Metadata;
    use ternary_formats::onebit::{Dense, OneBit, Packing, encode};
    use ternary_infer::Model;

    fn config() -> ModelConfig {
        ModelConfig {
            vocab_size: 30,
            hidden_size: 24,
            num_heads: 3,
            num_layers: 3,
            intermediate_size: 40,
            max_seq_len: 11,
            use_swiglu: true,
            embed_init_std: 0.3,
            init_std: 0.2,
            layer_bit_map: Some(LayerBitMap::sandwich(3, QuantMode::F16)),
            ..ModelConfig::default()
        }
    }

    fn task(config: ModelConfig, random: &[QuantMode]) -> Arc<Task> {
        let parameters = params::all(&config).into_iter();
        let parameters = parameters
            .map(|p| (p.name.clone(), p.init(&config, 5)))
            .collect();
        let ids: Vec<u32> = (0..400u32).map(|i| i * i % 29 % 30).collect();
        let windows = Windows::new(ids, config.max_seq_len, config.vocab_size).unwrap();
        Arc::new(Task {
            remap: Remap::new(&config, random),
            sample: windows.sample(7 * 11),
            config,
            parameters,
            windows,
        })
    }

    fn map(modes: [LayerMode; 3]) -> LayerBitMap {
        LayerBitMap {
            layer_modes: modes.to_vec(),
            ..LayerBitMap::sandwich(3, QuantMode::F16)
        }
    }

    fn scorer(task: &Arc<Task>) -> Scorer {
        Scorer::new(Box::new(CpuBackend::new(1)), task.clone()).unwrap()
    }

    fn full(scorer: &mut Scorer, task: &Task, map: &LayerBitMap) -> f64 {
        let sums = pollster::block_on(scorer.sums(map, &task.windows.all())).unwrap();
        sums.iter().sum::<f64>() / task.windows.tokens() as f64
    }

    fn maps() -> Vec<LayerBitMap> {
        use QuantMode::{Binary, EightBit, F16, Ternary};
        let mixed = LayerMode::PerMatrix(MatrixModes {
            v: Binary,
            down: F16,
            ..MatrixModes::all(Ternary)
        });
        let whole = LayerMode::Whole;
        vec![
            map([whole(F16), whole(F16), whole(F16)]),
            map([whole(F16), whole(Ternary), whole(F16)]),
            map([whole(F16), whole(Ternary), mixed]),
            map([whole(Binary), mixed, whole(EightBit)]),
            map([whole(Binary), mixed, whole(Ternary)]),
        ]
    }

    /// The loss of the file that would be written, by the inference path.
    fn by_inference(task: &Task, map: &LayerBitMap, windows: &[usize]) -> f64 {
        let mut parameters = task.parameters.clone();
        let config = task.remap.apply(&mut parameters, map).unwrap();
        let metadata = Metadata {
            config,
            ..Metadata::default()
        };
        let bytes = encode(metadata, &parameters, Packing::Ternary2, Dense::No).unwrap();
        let source = MemorySource::new("test", bytes);
        let file = pollster::block_on(OneBit::open(&source)).unwrap();
        let backend = Box::new(CpuBackend::new(1));
        let mut model =
            pollster::block_on(Model::load(backend, &file, &source, &mut |_| {})).unwrap();
        let vocab = task.config.vocab_size;
        let (mut total, mut count) = (0.0, 0);
        for w in windows {
            let targets = task.windows.targets(*w);
            let mut at = 0;
            let mut take = |rows: &[f32]| {
                for row in rows.chunks_exact(vocab) {
                    let sum: f64 = row.iter().map(|v| f64::from(*v).exp()).sum();
                    total += sum.ln() - f64::from(row[targets[at] as usize]);
                    at += 1;
                    count += 1;
                }
            };
            pollster::block_on(model.logits(task.windows.inputs(*w), &mut take)).unwrap();
        }
        total / f64::from(count)
    }

    /// Scores equal those of the written file, whatever the model was trained in. Rounding to F16
    /// moves some int8 and ternary codes of so small a model; a matrix made from the wrong values
    /// moves the loss ten times as far.
    #[test]
    fn scores_are_those_of_the_file() {
        for trained in QuantMode::CHOICES {
            let config = ModelConfig {
                layer_bit_map: Some(LayerBitMap::sandwich(3, trained)),
                ..config()
            };
            let task = task(config, &[]);
            let mut scorer = scorer(&task);
            for map in maps() {
                let found = pollster::block_on(scorer.sampled(&map)).unwrap();
                let want = by_inference(&task, &map, &task.sample);
                assert!(
                    (found - want).abs() < 5e-3,
                    "{trained} {map:?}: {found} {want}"
                );
                let found = full(&mut scorer, &task, &map);
                let want = by_inference(&task, &map, &task.windows.all());
                assert!(
                    (found - want).abs() < 5e-3,
                    "{trained} {map:?}: {found} {want}"
                );
            }
        }
    }

    /// What was run before changes no bit of a score, and shared layers are not run again.
    #[test]
    fn reuse_changes_nothing_but_the_work() {
        let task = task(config(), &QuantMode::CHOICES);
        let mut reusing = scorer(&task);
        let mut last = reusing.layers_run;
        let chunks = reusing.chunks.len();
        for (map, layers) in maps().iter().zip([3, 2, 1, 3, 1]) {
            let with = pollster::block_on(reusing.sampled(map)).unwrap();
            let fresh = pollster::block_on(scorer(&task).sampled(map)).unwrap();
            assert_eq!(with.to_bits(), fresh.to_bits());
            assert_eq!(reusing.layers_run - last, layers * chunks);
            last = reusing.layers_run;
        }
        // A full validation between two scores leaves the kept streams alone.
        let map = &maps()[4];
        full(&mut reusing, &task, &maps()[0]);
        let again = pollster::block_on(reusing.sampled(map)).unwrap();
        let fresh = pollster::block_on(scorer(&task).sampled(map)).unwrap();
        assert_eq!(again.to_bits(), fresh.to_bits());
    }

    /// The score of the model's own map is its validation loss.
    #[test]
    fn the_own_map_scores_the_validation_loss() {
        let config = ModelConfig {
            layer_bit_map: None,
            ..config()
        };
        let mut task = task(config.clone(), &[]);
        let data = TokenData::from_ids(&task.windows.ids, 30).unwrap();
        let batches = Batches::new(&data, config.max_seq_len, 1, config.vocab_size).unwrap();
        let mut window = ternary_common::data::Windows::default();
        batches.window(4, &mut window).unwrap();
        let mut ids = window.ids;
        ids.extend(window.targets.last());
        let windows = Windows::new(ids, config.max_seq_len, config.vocab_size).unwrap();
        Arc::get_mut(&mut task).unwrap().windows = windows;
        let mut scorer = scorer(&task);
        let found = full(&mut scorer, &task, &config.bit_map());
        let mut trainer = ternary_train::Trainer::from_start(
            Box::new(CpuBackend::new(1)),
            config,
            TrainConfig {
                batch_size: 1,
                ..TrainConfig::default()
            },
            ternary_train::Start {
                parameters: Some(task.parameters.clone()),
                ..Default::default()
            },
        )
        .unwrap();
        let want = pollster::block_on(trainer.validation_loss(&batches, &[4])).unwrap();
        assert!((found - want).abs() < 1e-5, "{found} {want}");
    }

    #[test]
    fn windows_are_checked() {
        assert!(Windows::new(vec![1], 8, 10).is_err());
        assert!(Windows::new(vec![1, 10], 8, 10).is_err());
        let short = Windows::new(vec![1, 2, 3], 8, 10).unwrap();
        assert_eq!((short.seq, short.len(), short.sample(100)), (2, 1, vec![0]));
    }
}
