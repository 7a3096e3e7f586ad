//! A loaded model: weights on a backend, programs recorded once, a KV cache that knows its tokens.

use super::load::{self, LowRankAdapter};
use crate::error::{Error, Result};
use ternary_backend::{Backend, BackendError, DeviceInfo, MemoryUse, ProgramId, elements};
use ternary_common::bytes::ByteSource;
use ternary_core::config::{CachePrecision, LoraConfig, ModelConfig};
use ternary_formats::onebit::OneBit;
use ternary_grammar::TokenSet;
use ternary_model as model;
use ternary_model::program::{BufferId, BufferKind, RunParams};
use ternary_model::{CANDIDATES, Logits, RECENT, RopeOwner, SamplingBuffers};

/// The KV cache grows by whole blocks of so many tokens.
const BLOCK: usize = 256;

#[derive(Clone, Copy)]
struct Step {
    program: ProgramId,
    rows: usize,
    ids: BufferId,
    logits: BufferId,
    sampling: Option<SamplingBuffers>,
}

/// Why steps with a last row's logits have the sampler's buffers.
const SAMPLING: &str = "prefill and decode are recorded with the sampler's buffers";

/// A decode step that chooses the token which the next one begins with.
#[derive(Clone, Copy)]
pub(crate) struct ChainedStep {
    pub program: ProgramId,
    pub ids: BufferId,
    pub recent: BufferId,
    pub chosen: BufferId,
}

/// What decode and prefill run.
#[derive(Clone, Copy)]
struct Steps {
    decode: Step,
    prefill: Step,
    /// Recorded when first asked for: its logits take rows × vocabulary.
    all_logits: Option<Step>,
    /// A decode step that chooses a token itself; recorded when first asked for.
    chained: Option<ChainedStep>,
}

/// The model by itself, or with an adapter beside it.
struct Variant {
    /// An adapter and its number.
    adapter: Option<(LoraConfig, usize)>,
    /// Recorded when first chosen.
    steps: Option<Steps>,
}

/// The run that has a text's last logits, and the largest of them.
#[derive(Clone, Copy)]
struct Last {
    program: ProgramId,
    logits: BufferId,
    top: [BufferId; 2],
}

/// What a model is loaded with besides its file.
#[derive(Clone, Copy, Default)]
pub struct LoadOptions<'a> {
    /// A low-rank adapter beside the weights.
    pub adapter: Option<&'a dyn LowRankAdapter>,
    /// Precision of the KV cache; heads of an odd width have f32.
    pub cache: CachePrecision,
}

/// A model on a backend, with its KV cache: takes tokens, gives candidates for the next one.
///
/// ```
/// use ternary_backend::cpu::CpuBackend;
/// use ternary_formats::onebit::OneBit;
/// use ternary_infer::{Model, Sampler, Sampling};
/// use ternary_common::bytes::FileSource;
/// use ternary_common::tokenizer::Tokenizer;
///
/// let source = FileSource::open("../tests/fixtures/v1.1bit".as_ref())?;
/// let file = pollster::block_on(OneBit::open(&source))?;
/// let tokenizer = Tokenizer::from_json(file.metadata.tokenizer.as_deref().unwrap_or_default())?;
/// let backend = Box::new(CpuBackend::new(1));
/// let mut model = pollster::block_on(Model::load(backend, &file, &source, &mut |_| {}))?;
/// let mut sampler = Sampler::new(&Sampling::default());
/// let mut next = tokenizer.encode("The cat")?;
/// for _ in 0..3 {
///     let candidates = pollster::block_on(model.feed(&next, &[], 1.0))?;
///     next = sampler.choose(candidates).into_iter().collect();
/// }
/// assert!(model.cached().len() > 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Model {
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) config: ModelConfig,
    /// Without an adapter, then with each of them.
    variants: Vec<Variant>,
    chosen: usize,
    cache: CachePrecision,
    /// Tokens whose keys and values are in the cache.
    pub(crate) cached: Vec<u32>,
    /// Tokens that it has memory for.
    room: usize,
    weight_bytes: usize,
}

impl Model {
    /// Expand a file's tensors onto `backend`, tensor by tensor; `progress` is told the bytes read
    /// so far.
    pub async fn load(
        backend: Box<dyn Backend>,
        file: &OneBit,
        source: &dyn ByteSource,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        Self::load_with(backend, file, source, LoadOptions::default(), progress).await
    }

    /// As [`Model::load`], with an adapter beside the weights, unmerged, and a KV cache of another
    /// precision than f32.
    ///
    /// # Errors
    /// Also an adapter that belongs to another model.
    pub async fn load_with(
        mut backend: Box<dyn Backend>,
        file: &OneBit,
        source: &dyn ByteSource,
        options: LoadOptions<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        let config = file.metadata.config.clone();
        let cache = options.cache.of(&config);
        let mut variants = vec![Variant {
            adapter: None,
            steps: None,
        }];
        // It is checked before anything large is read.
        if let Some(adapter) = options.adapter {
            variants.push(upload(backend.as_mut(), adapter, file, source, 0).await?);
        }
        let weight_bytes = load::weights(backend.as_mut(), file, source, progress).await?;
        for (name, table) in model::rope_tables(&config, RopeOwner::Model) {
            backend.upload(name, bytemuck::cast_slice(&table))?;
        }
        let mut model = Model {
            backend,
            config,
            chosen: variants.len() - 1,
            variants,
            cache,
            cached: Vec::new(),
            room: 0,
            weight_bytes,
        };
        model.get_ready().await?;
        // A GPU that ran out of memory says so only to someone who waits for it.
        model
            .backend
            .download(&BufferKind::Weight.named(ternary_core::params::FINAL_NORM))
            .await?;
        Ok(model)
    }

    /// Have one more adapter, which [`Model::choose`] knows by the number that this gives: the
    /// first is 0. `file` and `source` are the model's.
    ///
    /// # Errors
    /// It belongs to another model.
    pub async fn add_adapter(
        &mut self,
        adapter: &dyn LowRankAdapter,
        file: &OneBit,
        source: &dyn ByteSource,
    ) -> Result<usize> {
        let number = self.variants.len() - 1;
        let variant = upload(self.backend.as_mut(), adapter, file, source, number).await?;
        self.variants.push(variant);
        Ok(number)
    }

    /// Answer with the adapter of this number from now on, or with none. The weights stay where
    /// they are; the context is empty afterwards if this is a change, because keys and values are
    /// other ones.
    ///
    /// # Errors
    /// There is no such adapter, or no memory for its programs; the choice is as before then.
    pub async fn choose(&mut self, adapter: Option<usize>) -> Result<()> {
        let chosen = adapter.map_or(0, |number| number + 1);
        if chosen >= self.variants.len() {
            return Err(Error::NoSuchAdapter {
                number: chosen - 1,
                count: self.variants.len() - 1,
            });
        }
        if chosen == self.chosen {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.chosen, chosen);
        if let Err(problem) = self.get_ready().await {
            self.chosen = before;
            return Err(problem);
        }
        self.cached.clear();
        Ok(())
    }

    /// Records what the chosen variant runs, and finds the forms that suit the device.
    async fn get_ready(&mut self) -> Result<()> {
        if self.variants[self.chosen].steps.is_none() {
            self.steps()?;
            self.backend.tune().await?;
        }
        Ok(())
    }

    /// What the chosen variant runs.
    fn steps(&mut self) -> Result<Steps> {
        if let Some(steps) = self.variants[self.chosen].steps {
            return Ok(steps);
        }
        let steps = Steps {
            decode: self.prepare(1, Logits::Last)?,
            prefill: self.prepare(self.prefill_rows(), Logits::Last)?,
            all_logits: None,
            chained: None,
        };
        self.variants[self.chosen].steps = Some(steps);
        Ok(steps)
    }

    /// The step of [`Model::feed_ahead`].
    pub(crate) fn chained(&mut self) -> Result<ChainedStep> {
        let mut steps = self.steps()?;
        if let Some(step) = steps.chained {
            return Ok(step);
        }
        let step = self.prepare(1, Logits::Chosen)?;
        let sampling = step.sampling.expect(SAMPLING);
        let step = ChainedStep {
            program: step.program,
            ids: step.ids,
            recent: sampling.recent,
            chosen: sampling.chosen.expect(SAMPLING),
        };
        steps.chained = Some(step);
        self.variants[self.chosen].steps = Some(steps);
        Ok(step)
    }

    fn prefill_rows(&self) -> usize {
        self.backend.prefill_rows().min(self.config.max_seq_len)
    }

    fn prepare(&mut self, rows: usize, logits: Logits) -> Result<Step> {
        let adapter = self.variants[self.chosen].adapter.as_ref();
        let adapter = adapter.map(|(lora, number)| (lora, *number));
        let recorded = model::record_infer(&self.config, rows, logits, adapter, self.cache);
        Ok(Step {
            program: self.backend.prepare(recorded.program)?,
            rows,
            ids: recorded.ids,
            logits: recorded.logits,
            sampling: recorded.sampling,
        })
    }

    /// Have memory for the keys and values of so many tokens: twice what there is, so that a long
    /// text is moved a few times only; less where that much is not to be had.
    pub(crate) async fn make_room(&mut self, tokens: usize) -> Result<()> {
        if tokens <= self.room {
            return Ok(());
        }
        let whole = self.config.max_seq_len;
        let blocks = |tokens: usize| tokens.next_multiple_of(BLOCK).min(whole);
        let least = blocks(tokens);
        let twice = blocks(2 * self.room).max(least);
        let token = self.cache.position_bytes(&self.config);
        for room in [twice, least] {
            let sizes: Vec<(String, usize)> = (0..self.config.num_layers)
                .flat_map(|layer| {
                    [BufferKind::CachedKeys, BufferKind::CachedValues]
                        .map(|kind| (kind.named(layer), room * token))
                })
                .collect();
            match self.backend.grow(&sizes).await {
                Ok(()) => {
                    self.room = room;
                    return Ok(());
                }
                Err(BackendError::OutOfMemory { .. }) if room > least => {}
                Err(BackendError::OutOfMemory { bytes, .. }) => {
                    return Err(Error::CacheMemory {
                        tokens,
                        room: self.room,
                        bytes,
                    });
                }
                Err(problem) => return Err(problem.into()),
            }
        }
        Ok(())
    }

    /// The configuration, with the context that the cache was made for.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where it runs.
    pub fn device(&self) -> DeviceInfo {
        self.backend.info()
    }

    /// Weights at run time, in bytes.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// The KV cache of a full context, in bytes; it grows to that as the text does.
    pub fn cache_bytes(&self) -> usize {
        cache_bytes(&self.config, self.cache)
    }

    /// Tokens that the KV cache has memory for so far.
    pub fn cache_room(&self) -> usize {
        self.room
    }

    /// Precision of the KV cache.
    pub fn cache_precision(&self) -> CachePrecision {
        self.cache
    }

    /// Bytes that have been copied back from its device.
    pub fn read_bytes(&self) -> u64 {
        self.backend.read_bytes()
    }

    /// What is allocated.
    pub fn memory(&self) -> MemoryUse {
        self.backend.memory()
    }

    /// Whether the GPU is gone: nothing but loading the model again helps.
    pub fn is_lost(&self) -> bool {
        self.backend.is_lost()
    }

    /// Tokens in the cache.
    pub fn cached(&self) -> &[u32] {
        &self.cached
    }

    /// Keep only the first `len` tokens of the cache.
    pub fn truncate(&mut self, len: usize) {
        self.cached.truncate(len);
    }

    /// Fill the cache up to `len` tokens with whatever its memory holds: what comes after takes as
    /// long as after a text of that length, which is all that a measurement wants.
    ///
    /// # Errors
    /// More tokens than the context has, or no memory for them.
    pub async fn pretend(&mut self, len: usize) -> Result<()> {
        let room = self.config.max_seq_len;
        if len > room {
            return Err(Error::ContextFull { used: len, room });
        }
        self.make_room(len).await?;
        self.cached.resize(len, 0);
        Ok(())
    }

    /// Append `ids` to the context and return the candidates for the next token: the largest logits
    /// after `penalty` on the distinct `recent` tokens. One readback, whatever the vocabulary.
    pub async fn feed(
        &mut self,
        ids: &[u32],
        recent: &[u32],
        penalty: f32,
    ) -> Result<Vec<(u32, f32)>> {
        let last = self.advance(ids, recent, penalty).await?;
        self.candidates(last).await
    }

    /// As [`Model::feed`], of the tokens in `allowed` alone; none if the model has none of them.
    /// Where so many as `enough` of them are not among the largest logits of all, all logits are
    /// read back.
    pub async fn feed_allowed(
        &mut self,
        ids: &[u32],
        recent: &[u32],
        penalty: f32,
        allowed: &TokenSet,
        enough: usize,
    ) -> Result<Vec<(u32, f32)>> {
        let last = self.advance(ids, recent, penalty).await?;
        let mut candidates = self.candidates(last).await?;
        candidates.retain(|(id, _)| allowed.allows(*id));
        if candidates.len() >= enough.clamp(1, allowed.count().max(1)) {
            return Ok(candidates);
        }
        let read = self.backend.read(last.program, &[last.logits]).await?;
        let logits: Vec<f32> = elements(&read[0]);
        let all = (0..).zip(logits);
        candidates = all.filter(|(id, _)| allowed.allows(*id)).collect();
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        candidates.truncate(CANDIDATES);
        Ok(candidates)
    }

    /// Appends `ids` to the context; what was run last has the logits of the token after them.
    async fn advance(&mut self, ids: &[u32], recent: &[u32], penalty: f32) -> Result<Last> {
        self.check(ids)?;
        self.make_room(self.cached.len() + ids.len()).await?;
        let steps = self.steps()?;
        let mut rest = ids;
        loop {
            let step = if rest.len() == 1 {
                steps.decode
            } else {
                steps.prefill
            };
            let n = rest.len().min(step.rows);
            let (now, later) = rest.split_at(n);
            let sampling = step.sampling.expect(SAMPLING);
            let recent = &recent[recent.len().saturating_sub(RECENT)..];
            self.backend
                .write(step.program, step.ids, bytemuck::cast_slice(now))?;
            if later.is_empty() && penalty != 1.0 {
                self.backend
                    .write(step.program, sampling.recent, bytemuck::cast_slice(recent))?;
            }
            let run_params = RunParams {
                pos: self.cached.len() as u32,
                rows: n as u32,
                recent: if penalty == 1.0 {
                    0
                } else {
                    recent.len() as u32
                },
                repetition_penalty: penalty,
                ..RunParams::default()
            };
            self.backend.run(step.program, &run_params)?;
            self.cached.extend_from_slice(now);
            if later.is_empty() {
                return Ok(Last {
                    program: step.program,
                    logits: step.logits,
                    top: [sampling.top_ids, sampling.top_values],
                });
            }
            ternary_common::platform::yield_now().await;
            rest = later;
        }
    }

    async fn candidates(&mut self, last: Last) -> Result<Vec<(u32, f32)>> {
        let read = self.backend.read(last.program, &last.top).await?;
        let ids: Vec<u32> = elements(&read[0]);
        let values: Vec<f32> = elements(&read[1]);
        Ok(ids.into_iter().zip(values).collect())
    }

    /// Logits `[ids.len(), vocab]` of a text from an empty cache, handed out in bands of rows.
    pub async fn logits(&mut self, ids: &[u32], rows: &mut dyn FnMut(&[f32])) -> Result<()> {
        self.cached.clear();
        self.check(ids)?;
        self.make_room(ids.len()).await?;
        let mut steps = self.steps()?;
        let step = match steps.all_logits {
            Some(step) => step,
            None => {
                let step = self.prepare(self.prefill_rows(), Logits::All)?;
                steps.all_logits = Some(step);
                self.variants[self.chosen].steps = Some(steps);
                step
            }
        };
        for part in ids.chunks(step.rows) {
            self.backend
                .write(step.program, step.ids, bytemuck::cast_slice(part))?;
            let run_params = RunParams {
                pos: self.cached.len() as u32,
                rows: part.len() as u32,
                ..RunParams::default()
            };
            self.backend.run(step.program, &run_params)?;
            self.cached.extend_from_slice(part);
            let read = self.backend.read(step.program, &[step.logits]).await?;
            let logits: Vec<f32> = elements(&read[0]);
            rows(&logits[..part.len() * self.config.vocab_size]);
            ternary_common::platform::yield_now().await;
        }
        Ok(())
    }

    pub(crate) fn check(&self, ids: &[u32]) -> Result<()> {
        if ids.is_empty() {
            return Err(Error::NoTokens);
        }
        let (used, room) = (self.cached.len() + ids.len(), self.config.max_seq_len);
        if used > room {
            return Err(Error::ContextFull { used, room });
        }
        let vocab = self.config.vocab_size;
        match ids.iter().find(|id| **id as usize >= vocab) {
            Some(id) => Err(Error::UnknownToken { id: *id, vocab }),
            None => Ok(()),
        }
    }
}

/// Bytes of the KV cache: keys and values of every position and layer.
pub fn cache_bytes(config: &ModelConfig, cache: CachePrecision) -> usize {
    2 * cache.position_bytes(config) * config.num_layers * config.max_seq_len
}

/// Puts an adapter on the backend, and gives the variant that has it.
async fn upload(
    backend: &mut dyn Backend,
    adapter: &dyn LowRankAdapter,
    file: &OneBit,
    source: &dyn ByteSource,
    number: usize,
) -> Result<Variant> {
    adapter.upload(backend, file, source, number).await?;
    Ok(Variant {
        adapter: Some((adapter.lora().clone(), number)),
        steps: None,
    })
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Model({:?})", self.config)
    }
}
