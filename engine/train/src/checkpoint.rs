//! Checkpoint folders: Hugging Face's layout plus the training state.
//!
//! | file | |
//! |---|---|
//! | `config.json` | [`ModelConfig`] |
//! | `model.safetensors` | f32 parameters (latents) by their Hugging Face names |
//! | `tokenizer.json` | |
//! | `chat_template.jinja` | optional |
//! | `train_state.json` | schema version, step, [`TrainConfig`], tokens seen |
//! | `optimizer.safetensors` | moments `m.NAME`, and `v.NAME` of what AdamW changes; with `sync_every`, `outer.NAME` |
//!
//! Trained adapters are in [`ternary_formats::adapter`]'s two files instead of `config.json` and
//! `model.safetensors`.
//!
//! A checkpoint is written into a folder of another name, synced, and renamed, and renamed again
//! before it is deleted: a folder named `step-…` is always whole. `best.json` beside the folders
//! names the one with the lowest validation loss. Folders that an interruption left under other
//! names are cleared away by the next save.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use ternary_model::program::BufferKind;

use serde::{Deserialize, Serialize};

use super::best;
pub use super::best::Best;
use super::files::{self, write_synced as write};
use super::trainer::Trainer;
use crate::error::{Error, Result};
use ternary_common::data::StreamPlace;
use ternary_common::error::IoContext;
use ternary_common::exact::Exact;
use ternary_common::platform::DRAFT_ENDING;
use ternary_core::config::{ModelConfig, Optimizer, Packing, TrainConfig};
use ternary_core::params;
use ternary_formats::adapter::{self, Adapter};
pub use ternary_formats::safetensors::Tensors;
use ternary_formats::safetensors::{self as tensors, TensorWriter};
use ternary_model::Parameters;

/// End of the names of folders that are being written or deleted; they begin with a dot.
const UNFINISHED: &str = ".tmp";

/// Version of `train_state.json`. Version 1 lacked everything from `first_loss` on.
const SCHEMA: u32 = 2;

/// Everything beside the tensors that continuing needs; batches follow from seed and step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrainState {
    /// Version of the file's layout.
    pub schema: u32,
    /// Optimizer steps done.
    pub step: usize,
    /// The configuration that it was trained with so far.
    pub train: TrainConfig,
    /// Tokens trained on, in all epochs together.
    pub tokens_seen: u64,
    /// CRC-32 of the training ids, or of streamed files' names and sizes: resuming on other data is
    /// refused.
    pub data_checksum: u32,
    /// Nats per token; none before the first validation.
    pub last_val_loss: Option<f64>,
    /// Mean of the newest line of `metrics.jsonl`; none before the first.
    pub last_train_loss: Option<f64>,
    /// Loss of the run's first step.
    #[serde(default)]
    pub first_loss: Option<f64>,
    /// Losses summed, and steps, since the last line of `metrics.jsonl`: the next line's mean is
    /// that of an uninterrupted run.
    #[serde(default)]
    pub unlogged: (Exact, usize),
    /// The lowest validation loss so far, whether its checkpoint is kept or not.
    #[serde(default)]
    pub best: Option<Best>,
    /// Seconds of training so far.
    #[serde(default)]
    pub seconds: f64,
    /// Where a training on streamed texts is.
    #[serde(default)]
    pub place: Option<StreamPlace>,
    /// Checksum of the teacher.
    #[serde(default)]
    pub teacher: Option<u32>,
}

/// Files that go with the model but are not changed by training.
#[derive(Clone, Debug, Default)]
pub struct Companions {
    /// Contents of the tokenizer.json.
    pub tokenizer: String,
    /// Jinja source.
    pub chat_template: Option<String>,
}

/// Tensors of a safetensors file as f32 (F32, F16 and BF16 are read).
pub fn read_safetensors(path: &Path) -> Result<Tensors> {
    let bytes = std::fs::read(path).at("read", path)?;
    tensors::parse(&bytes).map_err(|problem| Error::Weights {
        path: path.to_owned(),
        problem,
    })
}

/// An adapter: its folder, the checkpoint the folder [names](resolve), or an adapter of one file.
pub fn read_adapter(path: &Path) -> Result<Adapter> {
    if path.is_file() {
        let bytes = std::fs::read(path).at("read", path)?;
        return Adapter::parse_file(&bytes).map_err(|cause| Error::AdapterFiles {
            path: path.to_owned(),
            cause,
        });
    }
    let dir = resolve(path)?;
    if !dir.join(adapter::CONFIG_FILE).is_file() {
        return Err(Error::NotAnAdapter {
            path: dir,
            file: adapter::CONFIG_FILE,
        });
    }
    let config = read_text(&dir.join(adapter::CONFIG_FILE))?;
    let weights = dir.join(adapter::WEIGHTS_FILE);
    let weights = std::fs::read(&weights).at("read", &weights)?;
    Adapter::parse(&config, &weights).map_err(|cause| Error::AdapterFiles { path: dir, cause })
}

fn serialize(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Result<Vec<u8>> {
    tensors::serialize(tensors).map_err(Error::Serialize)
}

/// Write a model without training state into the new folder `dir`.
pub fn write_model(
    dir: &Path,
    config: &ModelConfig,
    parameters: &Parameters,
    companions: &Companions,
) -> Result<()> {
    if dir.exists() {
        return Err(Error::FolderExists {
            path: dir.to_owned(),
        });
    }
    std::fs::create_dir_all(dir).at("create", dir)?;
    fill_model(dir, config, parameters, companions).inspect_err(|_| {
        // A part of a model is of no use. The error is the one to tell.
        let _ = std::fs::remove_dir_all(dir);
    })
}

fn fill_model(
    dir: &Path,
    config: &ModelConfig,
    parameters: &Parameters,
    companions: &Companions,
) -> Result<()> {
    let tensors: Vec<_> = params::all(config)
        .into_iter()
        .map(|p| {
            let values = parameters.get(&p.name).cloned().unwrap_or_default();
            (p.name, p.shape, values)
        })
        .collect();
    companions.write(dir)?;
    write(&dir.join("model.safetensors"), &serialize(&tensors)?)?;
    // Last: a folder without it is no checkpoint.
    write(&dir.join("config.json"), pretty(config).as_bytes())
}

impl Companions {
    fn write(&self, dir: &Path) -> Result<()> {
        write(&dir.join("tokenizer.json"), self.tokenizer.as_bytes())?;
        match &self.chat_template {
            Some(template) => write(&dir.join("chat_template.jinja"), template.as_bytes()),
            None => Ok(()),
        }
    }

    fn read(dir: &Path) -> Result<Self> {
        let template = dir.join("chat_template.jinja");
        Ok(Companions {
            tokenizer: read_text(&dir.join("tokenizer.json"))?,
            chat_template: template
                .is_file()
                .then(|| read_text(&template))
                .transpose()?,
        })
    }
}

/// Write `dir/step-N`, whole or not at all; returns its path.
///
/// # Errors
/// What writing says. Nothing of an unfinished checkpoint stays.
pub async fn save(
    trainer: &mut Trainer,
    dir: &Path,
    companions: &Companions,
    state: &TrainState,
) -> Result<PathBuf> {
    let name = folder_name(state.step);
    let (target, draft) = (dir.join(&name), dir.join(format!(".{name}{UNFINISHED}")));
    clear_unfinished(dir)?;
    let written = fill(trainer, &draft, companions, state).await;
    let named = written.and_then(|()| {
        if target.exists() {
            remove(&target)?;
        }
        files::sync_folder(&draft);
        Ok(std::fs::rename(&draft, &target).at("finish", &target)?)
    });
    if let Err(e) = named {
        // The error that stopped the writing is the one to tell.
        let _ = std::fs::remove_dir_all(&draft);
        return Err(e);
    }
    files::sync_folder(dir);
    Ok(target)
}

/// Write a checkpoint's files into the folder `draft`.
async fn fill(
    trainer: &mut Trainer,
    draft: &Path,
    companions: &Companions,
    state: &TrainState,
) -> Result<()> {
    std::fs::create_dir_all(draft).at("create", draft)?;
    let base = trainer.base().cloned();
    let mut model = Vec::new();
    let mut moments = Vec::new();
    for p in trainer.trained() {
        let name = match base {
            Some(_) => Adapter::file_name(&p.name),
            None => p.name.clone(),
        };
        model.push((name, p.shape.clone(), BufferKind::Param.named(&p.name)));
        for m in trainer.moments(&p) {
            let name = m.named(&p.name);
            moments.push((name.clone(), p.shape.clone(), name));
        }
    }
    let (config, description, weights) = match (&base, &trainer.train.lora) {
        (Some(base), Some(lora)) => (
            adapter::CONFIG_FILE,
            Adapter::config_json(lora, base)?,
            adapter::WEIGHTS_FILE,
        ),
        _ => ("config.json", pretty(&trainer.config), "model.safetensors"),
    };
    write(&draft.join(config), description.as_bytes())?;
    write(&draft.join("train_state.json"), pretty(state).as_bytes())?;
    companions.write(draft)?;
    write_buffers(trainer, &draft.join("optimizer.safetensors"), &moments).await?;
    write_buffers(trainer, &draft.join(weights), &model).await
}

/// Write buffers (name in the file, shape, name on the backend) one at a time: a model's training
/// has no memory to spare for copies.
async fn write_buffers(
    trainer: &mut Trainer,
    path: &Path,
    buffers: &[(String, Vec<usize>, String)],
) -> Result<()> {
    let declared = buffers
        .iter()
        .map(|(name, shape, _)| (name.clone(), shape.clone()));
    let file = std::fs::File::create(path).at("create", path)?;
    let out = std::io::BufWriter::new(file);
    let (mut writer, order) = TensorWriter::new(out, declared.collect()).at("write", path)?;
    let on_backend: HashMap<&String, &String> = buffers
        .iter()
        .map(|(name, _, buffer)| (name, buffer))
        .collect();
    for name in &order {
        writer
            .push(&trainer.buffer(on_backend[name]).await?)
            .at("write", path)?;
    }
    let out = writer.finish().at("write", path)?;
    let file = out
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)
        .at("write", path)?;
    Ok(file.sync_all().at("sync", path)?)
}

fn pretty<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).expect("configurations and states are JSON")
}

/// Whole checkpoints inside `dir`, oldest first.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    for entry in std::fs::read_dir(dir).at("read the folder", dir)? {
        let path = entry.at("read the folder", dir)?.path();
        let name = path.file_name().and_then(|n| n.to_str());
        // By number: from step 10,000,000 on names have a digit more.
        let step = name.and_then(|n| n.strip_prefix("step-")?.parse::<u64>().ok());
        if let Some(step) = step
            && is_checkpoint(&path)
        {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// What is wrong with a checkpoint's files, as far as it shows without reading them whole: an
/// unreadable or missing one, JSON that is none, tensors that end before they should.
fn damage(dir: &Path) -> Option<Error> {
    let check = || {
        for entry in std::fs::read_dir(dir).at("read the folder", dir)? {
            let path = entry.at("read the folder", dir)?.path();
            let ending = path.extension().and_then(|e| e.to_str());
            match ending {
                Some("json") => {
                    let text = read_text(&path)?;
                    serde_json::from_str::<serde::de::IgnoredAny>(&text)
                        .map_err(|cause| Error::Json { path, cause })?;
                }
                Some("safetensors") => whole_tensors(&path)?,
                _ => {}
            }
        }
        Ok(())
    };
    let named = ["model.safetensors", adapter::WEIGHTS_FILE].map(|name| dir.join(name));
    if !named.iter().any(|path| path.is_file()) {
        return Some(Error::NoWeights {
            path: dir.to_owned(),
        });
    }
    check().err()
}

/// Whether a safetensors file is as long as its header says.
fn whole_tensors(path: &Path) -> Result<()> {
    use std::io::Read;
    let fail = |problem: &str| Error::Weights {
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    let mut file = std::fs::File::open(path).at("read", path)?;
    let bytes = file.metadata().at("read", path)?.len();
    let mut head = [0; 8];
    file.read_exact(&mut head)
        .map_err(|_| fail("it is cut off"))?;
    let header = u64::from_le_bytes(head);
    let body = bytes
        .checked_sub(8)
        .and_then(|rest| rest.checked_sub(header));
    let body = body.ok_or_else(|| fail("it is cut off"))?;
    let mut json = vec![0; usize::try_from(header).map_err(|_| fail("it is cut off"))?];
    file.read_exact(&mut json).at("read", path)?;
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&json).map_err(|_| fail("its header is damaged"))?;
    let ends = header
        .values()
        .filter_map(|tensor| tensor["data_offsets"][1].as_u64());
    match ends.max().unwrap_or(0) == body {
        true => Ok(()),
        false => Err(fail("it is cut off, or longer than its header says")),
    }
}

/// The newest checkpoint of a run that is not damaged; those passed over are told of. None in a
/// folder without checkpoints.
pub(super) fn newest(dir: &Path) -> Result<Option<PathBuf>> {
    let mut first = None;
    for path in list(dir)?.into_iter().rev() {
        match damage(&path) {
            None => return Ok(Some(path)),
            Some(e) => {
                log::warn!("{e}; the checkpoint before it is used");
                first.get_or_insert(e);
            }
        }
    }
    first.map_or(Ok(None), Err)
}

/// The newest checkpoint whose parameters are all finite.
pub(super) fn last_good(dir: &Path) -> Result<Option<PathBuf>> {
    let finite = |path: &PathBuf| {
        let weights = [adapter::WEIGHTS_FILE, "model.safetensors"].map(|name| path.join(name));
        let weights = weights.iter().find(|path| path.is_file());
        weights.is_some_and(|path| {
            read_safetensors(path)
                .is_ok_and(|t| t.values().flat_map(|(_, v)| v).all(|v| v.is_finite()))
        })
    };
    Ok(list(dir)?.into_iter().rev().find(finite))
}

/// Delete a checkpoint so that an interruption leaves no part of it under its name.
fn remove(checkpoint: &Path) -> Result<()> {
    let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let doomed = checkpoint.with_file_name(format!(".{name}.old{UNFINISHED}"));
    std::fs::rename(checkpoint, &doomed).at("remove the old checkpoint", checkpoint)?;
    Ok(std::fs::remove_dir_all(&doomed).at("remove the old checkpoint", &doomed)?)
}

/// Delete what interrupted saves and deletions left behind.
fn clear_unfinished(dir: &Path) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir).at("read the folder", dir)? {
        let path = entry.at("read the folder", dir)?.path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        if name.starts_with(".step-") && name.ends_with(UNFINISHED) {
            std::fs::remove_dir_all(&path).at("remove the unfinished", &path)?;
        } else if name.starts_with('.') && name.ends_with(DRAFT_ENDING) {
            // The folder has one writer, and that is not it.
            std::fs::remove_file(&path).at("remove the unfinished", &path)?;
        }
    }
    Ok(())
}

/// Delete the oldest checkpoint that is neither the best nor the last one there is, and say which
/// it was: a full disk needs the room.
pub(super) fn make_room(dir: &Path, best: Option<Best>) -> Result<Option<PathBuf>> {
    let spared = best.map(|b| b.folder(dir));
    let all = list(dir)?;
    let old = all[..all.len().saturating_sub(1)]
        .iter()
        .find(|old| spared.as_ref() != Some(old));
    if let Some(old) = old {
        remove(old)?;
    }
    Ok(old.cloned())
}

/// Keep the newest `count` checkpoints, and the best one.
pub fn prune(dir: &Path, count: usize, best: Option<Best>) -> Result<()> {
    let all = list(dir)?;
    let spared = best.map(|b| b.folder(dir));
    for old in &all[..all.len().saturating_sub(count)] {
        if spared.as_ref() != Some(old) {
            remove(old)?;
        }
    }
    Ok(())
}

/// Name of the folder of a step's checkpoint.
pub(super) fn folder_name(step: usize) -> String {
    format!("step-{step:07}")
}

/// Whether `path` holds a model or an adapter.
pub(super) fn is_checkpoint(path: &Path) -> bool {
    ["config.json", adapter::CONFIG_FILE]
        .iter()
        .any(|name| path.join(name).is_file())
}

/// Whether `path` is a folder, or stands for one (`RUN/best`), that [`resolve`] may find a
/// checkpoint in.
pub fn is_checkpoint_path(path: &Path) -> bool {
    path.is_dir() || best::is_best(path)
}

/// The checkpoint `path` names: itself; the newest one inside; for `RUN/best`, the one with the
/// lowest validation loss.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    if best::is_best(path) {
        return best::resolve(path);
    }
    if is_checkpoint(path) {
        return Ok(path.to_owned());
    }
    newest(path)?.ok_or_else(|| Error::NotACheckpoint {
        path: path.to_owned(),
    })
}

fn read_text(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).at("read", path)?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(unmarked) => unmarked.to_owned(),
        None => text,
    })
}

/// A checkpoint's model: configuration, parameters, tokenizer.
#[derive(Debug)]
pub struct LoadedCheckpoint {
    /// Sizes, switches and bit-map.
    pub config: ModelConfig,
    /// Latents by name.
    pub tensors: Parameters,
    /// Its tokenizer and chat template.
    pub companions: Companions,
    /// Absent in folders that were not written by training.
    pub state: Option<TrainState>,
}

/// The parameters in a safetensors file that stands alone, checked against `config`.
pub fn tensors(path: &Path, config: &ModelConfig) -> Result<Parameters> {
    checked(config, read_safetensors(path)?, path)
}

/// Read a checkpoint folder and check it against its own config.
pub fn load(dir: &Path) -> Result<LoadedCheckpoint> {
    if !dir.join("config.json").is_file() && dir.join(adapter::CONFIG_FILE).is_file() {
        return Err(Error::NotAModel {
            path: dir.to_owned(),
        });
    }
    let config = read_config(dir)?;
    let tensors = checked(
        &config,
        read_safetensors(&dir.join("model.safetensors"))?,
        dir,
    )?;
    Ok(LoadedCheckpoint {
        tensors,
        companions: Companions::read(dir)?,
        state: state(dir)?,
        config,
    })
}

fn read_config(dir: &Path) -> Result<ModelConfig> {
    let path = dir.join("config.json");
    let text = read_text(&path)?;
    ModelConfig::from_json(&text).map_err(|cause| {
        let fields = serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
        // Hugging Face's say which class reads them; ours have neither field.
        match fields.get("architectures").or(fields.get("model_type")) {
            Some(_) => Error::Foreign {
                path: dir.to_owned(),
            },
            None => Error::ConfigFile { path, cause },
        }
    })
}

/// How the newest checkpoint in `dir` packs its data; none without a checkpoint.
///
/// # Errors
/// A damaged checkpoint.
pub fn recorded_packing(dir: &Path) -> Result<Option<Packing>> {
    let newest = newest(dir)?.map(|path| state(&path)).transpose()?;
    Ok(newest
        .flatten()
        .map(|state| state.train.packing.unwrap_or_default()))
}

/// The training state of a checkpoint; none in folders that were not written by training.
pub(super) fn state(dir: &Path) -> Result<Option<TrainState>> {
    let state = dir.join("train_state.json");
    state.is_file().then(|| read_state(&state)).transpose()
}

fn read_state(path: &Path) -> Result<TrainState> {
    let state: TrainState =
        serde_json::from_str(&read_text(path)?).map_err(|cause| Error::Json {
            path: path.to_owned(),
            cause,
        })?;
    if !(1..=SCHEMA).contains(&state.schema) {
        return Err(Error::Schema {
            path: path.to_owned(),
            found: state.schema,
            newest: SCHEMA,
        });
    }
    Ok(state)
}

fn checked(config: &ModelConfig, mut found: Tensors, dir: &Path) -> Result<Parameters> {
    params::all(config)
        .into_iter()
        .map(|p| {
            let (shape, values) = found.remove(&p.name).ok_or_else(|| Error::MissingTensor {
                path: dir.to_owned(),
                name: p.name.clone(),
            })?;
            if shape != p.shape {
                return Err(Error::Shape {
                    path: dir.to_owned(),
                    name: p.name,
                    found: shape,
                    expected: p.shape,
                });
            }
            Ok((p.name, values))
        })
        .collect()
}

/// Fields of two configs that have other values, and both.
fn differences(was: &ModelConfig, is: &ModelConfig) -> Vec<String> {
    let fields = |config: &ModelConfig| match serde_json::to_value(config) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (was, is) = (fields(was), fields(is));
    let gone = serde_json::Value::Null;
    let mut names: Vec<&String> = was.keys().chain(is.keys()).collect();
    names.sort();
    names.dedup();
    let both = names.into_iter().map(|name| {
        (
            name,
            was.get(name).unwrap_or(&gone),
            is.get(name).unwrap_or(&gone),
        )
    });
    let changed = both.filter(|(_, was, is)| was != is);
    changed
        .map(|(name, was, is)| format!("{name} was {was}, is {is}"))
        .collect()
}

/// The folder of the run that `path` is a checkpoint of, if it is one.
pub(crate) fn run_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let run = path.parent().filter(|run| !run.as_os_str().is_empty());
    let is = name == "best" || name.strip_prefix("step-")?.parse::<usize>().is_ok();
    is.then(|| run.unwrap_or(Path::new(".")).to_owned())
}

/// What a checkpoint trained, if it is one of the same model as the trainer's.
fn trained(trainer: &Trainer, dir: &Path) -> Result<Parameters> {
    if let Some(base) = trainer.base() {
        let adapter = read_adapter(dir)?;
        adapter.check(&trainer.config, base.checksum.unwrap_or_default())?;
        if trainer.train.lora.as_ref() != Some(&adapter.lora) {
            return Err(Error::ResumeLora {
                path: dir.to_owned(),
                rank: adapter.lora.rank,
                alpha: adapter.lora.alpha,
            });
        }
        return Ok(adapter.tensors);
    }
    let loaded = load(dir)?;
    if loaded.config != trainer.config {
        return Err(Error::ResumeConfig {
            path: dir.to_owned(),
            changes: differences(&loaded.config, &trainer.config).join(", "),
        });
    }
    Ok(loaded.tensors)
}

/// Put a checkpoint's parameters, moments and step back into a trainer recorded from the same
/// config; returns the rest of it.
pub fn restore(trainer: &mut Trainer, dir: &Path) -> Result<(TrainState, Companions)> {
    let tensors = trained(trainer, dir)?;
    let state = state(dir)?.ok_or_else(|| Error::NoTrainState {
        path: dir.to_owned(),
    })?;
    if (state.train.optimizer, trainer.train.optimizer) == (Optimizer::Muon, Optimizer::AdamW) {
        return Err(Error::ResumeOptimizer {
            path: dir.to_owned(),
        });
    }
    let mut moments = read_safetensors(&dir.join("optimizer.safetensors"))?;
    for p in trainer.trained() {
        let missing = |file, name: &str| Error::IncompleteState {
            path: dir.to_owned(),
            file,
            name: name.to_owned(),
        };
        let values = tensors
            .get(&p.name)
            .ok_or_else(|| missing(adapter::WEIGHTS_FILE, &p.name))?;
        trainer.set_buffer(&BufferKind::Param.named(&p.name), values)?;
        for m in trainer.moments(&p) {
            let key = m.named(&p.name);
            let values = match (moments.remove(&key), m) {
                (Some((_, values)), _) => values,
                // The run had no local steps until now.
                (None, BufferKind::OuterMoment) => vec![0.0; p.len()],
                (None, _) => return Err(missing("optimizer.safetensors", &key)),
            };
            trainer.set_buffer(&key, &values)?;
        }
    }
    trainer.step = state.step;
    Ok((state, Companions::read(dir)?))
}

impl TrainState {
    /// The state after `step`, of a run that knows nothing else yet.
    pub fn new(step: usize, train: &TrainConfig, tokens_seen: u64, data_checksum: u32) -> Self {
        TrainState {
            schema: SCHEMA,
            step,
            train: train.clone(),
            tokens_seen,
            data_checksum,
            last_val_loss: None,
            last_train_loss: None,
            first_loss: None,
            unlogged: (Exact(0.0), 0),
            best: None,
            place: None,
            teacher: None,
            seconds: 0.0,
        }
    }
}
