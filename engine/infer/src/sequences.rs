//! Several texts through one model at once: each has its own tokens; keys and values of beginnings
//! that are alike are kept once.

use ternary_backend::{
    Backend, BackendError, DeviceInfo, DeviceKind, MemoryUse, ProgramId, elements,
};
use ternary_common::bytes::ByteSource;
use ternary_core::config::{CachePrecision, ModelConfig};
use ternary_core::params::{self, ParamKind};
use ternary_formats::onebit::OneBit;
use ternary_model::program::{BufferId, BufferKind, PAGE, RunParams};
use ternary_model::{RopeOwner, RowsProgram, SequencePrograms, rope_tables};

use crate::error::{Error, Result};
use crate::load::{self, LowRankAdapter};
use crate::pages::{Pages, Table};

/// Rows whose logits are computed in one run: of all of these is read back, so the fewest that are
/// enough are taken.
const PICKED: [usize; 3] = [1, 4, 16];
/// Pages that the cache grows by.
const GROWTH: usize = 16;
/// Rows of a step where a row's result would depend on how many there are: what the CPU multiplies
/// in floats. See `FEW` of its products.
const FEW: usize = 16;

/// What sequences are set up with.
#[derive(Clone, Copy, Debug)]
pub struct SequenceOptions {
    /// Texts at the same time.
    pub sequences: usize,
    /// Tokens that all of them together may have in the KV cache; at least a context.
    pub tokens: usize,
    /// Its precision.
    pub cache: CachePrecision,
}

/// One of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SequenceId(usize);

/// Tokens to go on with in a step.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Which text.
    pub sequence: SequenceId,
    /// What comes next in it.
    pub ids: &'a [u32],
}

struct Sequence {
    ids: Vec<u32>,
    table: Table,
    adapter: Option<usize>,
    /// Tokens it may have.
    most: usize,
}

struct Rows {
    program: ProgramId,
    picks: BufferId,
    out: BufferId,
    rows: usize,
}

impl Rows {
    fn prepare(backend: &mut dyn Backend, recorded: RowsProgram, rows: usize) -> Result<Self> {
        Ok(Rows {
            program: backend.prepare(recorded.program)?,
            picks: recorded.picks,
            out: recorded.out,
            rows,
        })
    }
}

#[derive(Clone, Copy)]
struct Body {
    program: ProgramId,
    ids: BufferId,
    places: BufferId,
}

/// A model on a backend with several texts. On the CPU a text gives the same logits to the bit
/// whatever the others are.
pub struct Sequences {
    backend: Box<dyn Backend>,
    config: ModelConfig,
    options: SequenceOptions,
    /// Rows of a step.
    rows: usize,
    /// Pages of a table, and of the whole cache.
    table: usize,
    most_pages: usize,
    plain: Body,
    adapted: Vec<Body>,
    heads: Vec<Rows>,
    hidden: Rows,
    pages: Pages,
    /// Pages that the cache has memory for.
    room: usize,
    sequences: Vec<Option<Sequence>>,
    weight_bytes: usize,
}

impl Sequences {
    /// Expand a file's tensors onto `backend`, tensor by tensor; `progress` is told the bytes read
    /// so far.
    pub async fn load(
        mut backend: Box<dyn Backend>,
        file: &OneBit,
        source: &dyn ByteSource,
        options: SequenceOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        let config = file.metadata.config.clone();
        let options = SequenceOptions {
            sequences: options.sequences.max(1),
            cache: options.cache.of(&config),
            ..options
        };
        let weight_bytes = load::weights(backend.as_mut(), file, source, progress).await?;
        for (name, table) in rope_tables(&config, RopeOwner::Model) {
            backend.upload(name, bytemuck::cast_slice(&table))?;
        }
        let exact = backend.info().kind == DeviceKind::Gpu || all_integers(&config);
        let rows = match exact {
            true => backend.prefill_rows(),
            false => FEW,
        };
        let rows = rows.max(options.sequences);
        let context = config.max_seq_len.div_ceil(PAGE);
        let most_pages = (options.tokens / PAGE)
            .min(context * options.sequences)
            .max(context);
        let recorded = SequencePrograms {
            config: &config,
            rows,
            sequences: options.sequences,
            pages: most_pages,
            cache: options.cache,
        };
        let plain = body(backend.as_mut(), &recorded, None)?;
        let heads = PICKED
            .iter()
            .map(|picked| Rows::prepare(backend.as_mut(), recorded.head(*picked), *picked))
            .collect::<Result<_>>()?;
        let hidden = Rows::prepare(backend.as_mut(), recorded.hidden(), rows)?;
        let table = recorded.table();
        backend.tune().await?;
        Ok(Sequences {
            pages: Pages::new(most_pages),
            sequences: (0..options.sequences).map(|_| None).collect(),
            backend,
            options,
            rows,
            table,
            most_pages,
            plain,
            adapted: Vec::new(),
            heads,
            hidden,
            room: 0,
            weight_bytes,
            config,
        })
    }

    /// Have an adapter that texts can ask for by its number, the first one by 0.
    ///
    /// # Errors
    /// It belongs to another model.
    pub async fn add_adapter(
        &mut self,
        adapter: &dyn LowRankAdapter,
        file: &OneBit,
        source: &dyn ByteSource,
    ) -> Result<usize> {
        let number = self.adapted.len();
        let backend = self.backend.as_mut();
        adapter.upload(backend, file, source, number).await?;
        let recorded = SequencePrograms {
            config: &self.config,
            rows: self.rows,
            sequences: self.options.sequences,
            pages: self.most_pages,
            cache: self.options.cache,
        };
        let adapter = Some((adapter.lora(), number));
        self.adapted.push(body(backend, &recorded, adapter)?);
        Ok(number)
    }

    /// The configuration, with the context that texts may have.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where it runs.
    pub fn device(&self) -> DeviceInfo {
        self.backend.info()
    }

    /// What is allocated.
    pub fn memory(&self) -> MemoryUse {
        self.backend.memory()
    }

    /// Weights at run time, in bytes.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// The KV cache where it is full, in bytes.
    pub fn cache_bytes(&self) -> usize {
        2 * self.options.cache.position_bytes(&self.config)
            * self.config.num_layers
            * self.most_pages
            * PAGE
    }

    /// Whether the GPU is gone.
    pub fn is_lost(&self) -> bool {
        self.backend.is_lost()
    }

    /// Tokens of a step at most.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Begin a text that will have `tokens` at most, of which the first are `ids`. Its first tokens
    /// may be in the cache already; the last one never is, and what is not there is to be fed. None
    /// if there is no room now.
    pub fn open(
        &mut self,
        ids: &[u32],
        tokens: usize,
        adapter: Option<usize>,
    ) -> Option<(SequenceId, usize)> {
        let slot = self.sequences.iter().position(Option::is_none)?;
        let most = tokens.min(self.config.max_seq_len);
        let table = self.pages.open(ids, most, adapter)?;
        let cached = table.pages.len() * PAGE;
        self.sequences[slot] = Some(Sequence {
            ids: ids[..cached].to_vec(),
            table,
            adapter,
            most,
        });
        Some((SequenceId(slot), cached))
    }

    /// End a text. What it had in the cache stays for others until there is need of the room.
    pub fn close(&mut self, sequence: SequenceId) {
        if let Some(mut closed) = self.sequences[sequence.0].take() {
            self.pages.settle(&mut closed.table, &closed.ids);
            self.pages.close(closed.table);
        }
    }

    /// Tokens of a text whose keys and values are in the cache.
    pub fn tokens(&self, sequence: SequenceId) -> &[u32] {
        match &self.sequences[sequence.0] {
            Some(sequence) => &sequence.ids,
            None => &[],
        }
    }

    /// Forget the tokens from `len` on, which came with the last step, or earlier ones, too.
    /// Returns how many are left: fewer where other texts use what they were kept in.
    pub fn truncate(&mut self, sequence: SequenceId, len: usize) -> usize {
        let Some(sequence) = &mut self.sequences[sequence.0] else {
            return 0;
        };
        if len < sequence.ids.len() {
            let left = self.pages.truncate(&mut sequence.table, len);
            sequence.ids.truncate(left);
        }
        sequence.ids.len()
    }

    /// Go on with all texts of `pieces`, which have the same adapter and [`Sequences::rows`] tokens
    /// in all at most. Each text comes once. The rows of the step are the pieces' tokens in order.
    ///
    /// # Errors
    /// A token that the model does not have, or more than a text may have: before anything is done.
    pub async fn step(&mut self, pieces: &[Piece<'_>]) -> Result<()> {
        let rows: usize = pieces.iter().map(|piece| piece.ids.len()).sum();
        let tables = 2 * self.rows;
        let mut places = vec![0u32; tables + self.options.sequences * self.table];
        let mut ids = Vec::with_capacity(rows);
        let mut body = self.plain;
        for piece in pieces {
            self.check(piece)?;
        }
        for piece in pieces {
            let slot = piece.sequence.0;
            let Some(sequence) = &mut self.sequences[slot] else {
                continue;
            };
            if let Some(number) = sequence.adapter {
                body = self.adapted[number];
            }
            self.pages.settle(&mut sequence.table, &sequence.ids);
            let from = sequence.ids.len();
            let to = from + piece.ids.len();
            self.pages.extend(&mut sequence.table, to);
            let table = tables + slot * self.table;
            for position in from..to {
                let row = 2 * ids.len();
                places[row..row + 2].copy_from_slice(&[position as u32, table as u32]);
                ids.push(piece.ids[position - from]);
            }
            let pages = &sequence.table.pages;
            places[table..table + pages.len()].copy_from_slice(pages);
        }
        self.make_room().await?;
        self.backend
            .write(body.program, body.ids, bytemuck::cast_slice(&ids))?;
        self.backend
            .write(body.program, body.places, bytemuck::cast_slice(&places))?;
        let run_params = RunParams {
            rows: rows as u32,
            ..RunParams::default()
        };
        self.backend.run(body.program, &run_params)?;
        for piece in pieces {
            if let Some(sequence) = &mut self.sequences[piece.sequence.0] {
                sequence.ids.extend_from_slice(piece.ids);
            }
        }
        Ok(())
    }

    /// Logits of rows of the last step, `[rows.len(), vocab]`.
    pub async fn logits(&mut self, rows: &[u32]) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(rows.len() * self.config.vocab_size);
        let backend = self.backend.as_mut();
        let most = PICKED[PICKED.len() - 1];
        for rows in rows.chunks(most) {
            let enough = |head: &&Rows| head.rows >= rows.len();
            let Some(head) = self.heads.iter().find(enough) else {
                continue;
            };
            run_rows(backend, head, rows, self.config.vocab_size, &mut all).await?;
        }
        Ok(all)
    }

    /// Hidden states, behind the final norm, of rows of the last step, `[rows.len(), hidden]`.
    pub async fn hidden(&mut self, rows: &[u32]) -> Result<Vec<f32>> {
        let backend = self.backend.as_mut();
        let mut all = Vec::with_capacity(rows.len() * self.config.hidden_size);
        run_rows(
            backend,
            &self.hidden,
            rows,
            self.config.hidden_size,
            &mut all,
        )
        .await?;
        Ok(all)
    }

    /// Have memory for the pages in use.
    async fn make_room(&mut self) -> Result<()> {
        if self.pages.len() <= self.room {
            return Ok(());
        }
        let most = self.most_pages;
        let room = self.pages.len().max(2 * self.room).next_multiple_of(GROWTH);
        let room = room.min(most);
        let bytes = room * PAGE * self.options.cache.position_bytes(&self.config);
        let sizes: Vec<(String, usize)> = (0..self.config.num_layers)
            .flat_map(|layer| {
                [BufferKind::CachedKeys, BufferKind::CachedValues]
                    .map(|kind| (kind.named(layer), bytes))
            })
            .collect();
        match self.backend.grow(&sizes).await {
            Ok(()) => {
                self.room = room;
                Ok(())
            }
            Err(BackendError::OutOfMemory { bytes, .. }) => Err(Error::CacheMemory {
                tokens: room * PAGE,
                room: self.room * PAGE,
                bytes,
            }),
            Err(problem) => Err(problem.into()),
        }
    }

    fn check(&self, piece: &Piece) -> Result<()> {
        let vocab = self.config.vocab_size;
        if let Some(id) = piece.ids.iter().find(|id| **id as usize >= vocab) {
            return Err(Error::UnknownToken { id: *id, vocab });
        }
        let Some(sequence) = &self.sequences[piece.sequence.0] else {
            return Err(Error::NoTokens);
        };
        let used = sequence.ids.len() + piece.ids.len();
        match used <= sequence.most {
            true => Ok(()),
            false => Err(Error::ContextFull {
                used,
                room: sequence.most,
            }),
        }
    }
}

/// Whether the layers multiply integers alone, whose sums do not depend on their order.
fn all_integers(config: &ModelConfig) -> bool {
    let ends = [params::embedding(config).name, params::lm_head(config).name];
    config.activation_bits.is_some()
        && params::all(config).iter().all(|p| match &p.kind {
            ParamKind::Matrix(m) => m.mode.is_quantized() || ends.contains(&m.name),
            _ => true,
        })
}

fn body(
    backend: &mut dyn Backend,
    recorded: &SequencePrograms,
    adapter: Option<(&ternary_core::config::LoraConfig, usize)>,
) -> Result<Body> {
    let recorded = recorded.body(adapter);
    Ok(Body {
        program: backend.prepare(recorded.program)?,
        ids: recorded.ids,
        places: recorded.places,
    })
}

/// Adds `width` values of each of `rows` to `all`.
async fn run_rows(
    backend: &mut dyn Backend,
    of: &Rows,
    rows: &[u32],
    width: usize,
    all: &mut Vec<f32>,
) -> Result<()> {
    backend.write(of.program, of.picks, bytemuck::cast_slice(rows))?;
    let run_params = RunParams {
        rows: rows.len() as u32,
        ..RunParams::default()
    };
    backend.run(of.program, &run_params)?;
    let len = rows.len() * width;
    match backend.look_at(of.program, of.out) {
        Some(bytes) => all.extend_from_slice(&bytemuck::cast_slice(bytes)[..len]),
        None => {
            let read = backend.read(of.program, &[of.out]).await?;
            all.extend_from_slice(&elements::<f32>(&read[0])[..len]);
        }
    }
    Ok(())
}

impl std::fmt::Debug for Sequences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sequences({:?})", self.config)
    }
}
