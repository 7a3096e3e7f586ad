//! `onebit search` and `onebit eval-config`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use ternary::backend::BackendOptions;
use ternary::config::{LayerBitMap, LayerMode, MatrixKind, ModelConfig, QuantMode};
use ternary::data;
use ternary::format::{Metadata, Packing, encoded_len};
use ternary::model::Remap;
use ternary::ranks::Ranks;
use ternary::search::{
    Entry, Evaluate, Journal, Local, Pool, Scorer, SearchResult, Settings, Space, SpaceOptions,
    Standing, Task, Together, Tokens, Windows, fingerprint, search, serve,
};
use ternary::tokenizer::Tokenizer;
use ternary::train::checkpoint::{self, Companions};
use ternary::words::counted;

use crate::args::{EvalConfig, MeasureArgs, Search};
use crate::cluster;
use crate::commands::{export, tokenize};
use crate::model::{self, Opened};
use crate::output::{self, errln, outln};
use crate::progress;

/// Exit code of a search whose limits nothing satisfies.
pub const UNSATISFIED: u8 = 3;

/// Nothing satisfies the limits; the result says what comes nearest.
#[derive(Debug)]
pub struct Unsatisfied(String);

impl std::fmt::Display for Unsatisfied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsatisfied {}

pub fn run(a: &Search, ranks: Option<Ranks>) -> Result<()> {
    let to_output = a.output.as_os_str() == "-";
    if !to_output {
        output::check(&a.output, &[&a.measure.checkpoint, &a.measure.val_data])?;
        output::check_kind("--output", &a.output, "json")?;
    }
    let target = Target::open(&a.measure)?;
    let megabytes = |s: f64| -> Result<u64> {
        if !(s > 0.0 && s.is_finite()) {
            bail!("--max-size-mb {s}: give a size above 0, in megabytes");
        }
        Ok((s * 1e6) as u64)
    };
    let settings = Settings {
        space: SpaceOptions {
            granularity: a.granularity,
            modes: a.modes.clone(),
            unpin: a.unpin,
        },
        max_perplexity: a.min_perplexity_max,
        max_bytes: a.max_size_mb.map(megabytes).transpose()?,
        max_evals: a.max_evals,
        sample_tokens: a.eval_tokens,
        seed: a.seed,
    };
    settings.validate()?;
    let space = Space::new(&target.opened.file_metadata(), &settings.space)?;
    errln!(
        "{} of {}; at most {}",
        match space.count() {
            u64::MAX => "more than 10^19 maps".to_owned(),
            n => counted(n, "map"),
        },
        counted(space.choices.len(), "choice"),
        counted(settings.max_evals, "evaluation")
    );
    let source = target.describe(&a.measure);
    let task = target.task(settings.sample_tokens)?;
    let tokens = Tokens {
        sample: task.sample.len() * task.windows.seq,
        all: task.windows.tokens(),
    };
    let (space, task) = (Arc::new(space), Arc::new(task));
    let mut evaluator = evaluator(&a.measure, &space, &task)?;
    let fingerprint = json!({ "settings": settings, "source": source });
    if let Some(mut ranks) = ranks {
        let first = ranks.tell(serde_json::to_vec(&fingerprint)?)?;
        if !ranks.leads() {
            if serde_json::from_slice::<Value>(&first)? != fingerprint {
                bail!(
                    "another checkpoint, text or setting than on rank 0: give all ranks the same files and flags"
                );
            }
            pollster::block_on(serve(evaluator.as_mut(), &mut ranks))?;
            cluster::done();
            return Ok(());
        }
        errln!("{}", counted(ranks.size(), "rank"));
        evaluator = Box::new(Together::new(evaluator, ranks));
    }
    let journal_path = match to_output {
        true => PathBuf::from("search.journal"),
        false => beside(&a.output, ".journal"),
    };
    let mut journal = Journal::open(evaluator.as_mut(), &journal_path, &fingerprint, a.resume)?;
    if a.resume {
        let known = journal.known();
        let are = if known == 1 { "is" } else { "are" };
        errln!("{} {are} known already", counted(known, "evaluation"));
    }
    let bar = progress::bar(
        settings.max_evals as u64,
        "{bar:24} {pos}/{len} evaluations {msg} {elapsed}, {eta} left at most",
    );
    let mut shown = String::new();
    let mut observe = |s: Standing| {
        bar.set_position(s.evaluations as u64);
        let Some((map, loss, bytes)) = s.best else {
            bar.set_message("nothing within the limits yet");
            return;
        };
        let text = format!(
            "best: {:.3} MB, perplexity {:.3}, {}",
            bytes as f64 / 1e6,
            loss.exp(),
            brief(&map)
        );
        if text != shown && bar.is_hidden() {
            errln!("{}; {text}", counted(s.evaluations, "evaluation"));
        }
        bar.set_message(text.clone());
        shown = text;
    };
    let found = pollster::block_on(search(
        &space,
        &settings,
        tokens,
        &mut journal,
        &mut observe,
    ))?;
    bar.finish_and_clear();
    cluster::done();
    let result = SearchResult { source, ..found };
    let text = serde_json::to_string_pretty(&result)?;
    if to_output {
        output::write(&(text + "\n"));
    } else {
        export::write(&a.output, (text + "\n").as_bytes())?;
    }
    drop(journal);
    std::fs::remove_file(&journal_path)
        .with_context(|| format!("cannot remove {}", journal_path.display()))?;
    if to_output {
        // It is there already.
    } else if a.measure.json {
        outln!("{}", serde_json::to_string(&result)?);
    } else {
        report(&result);
        outln!("{}", a.output.display());
    }
    if result.satisfied {
        return Ok(());
    }
    Err(Unsatisfied(unsatisfied(&result)).into())
}

pub fn eval_config(a: &EvalConfig) -> Result<()> {
    let target = Target::open(&a.measure)?;
    let map = model::bit_map(&a.bit_map, target.opened.config.num_layers)?;
    let metadata = Metadata {
        config: ModelConfig {
            layer_bit_map: Some(map.clone()),
            ..target.opened.config.clone()
        },
        ..target.opened.file_metadata()
    };
    metadata
        .config
        .validate()
        .with_context(|| a.bit_map.display().to_string())?;
    let bytes = encoded_len(&metadata, Packing::Ternary2)?;
    let task = Arc::new(target.task(0)?);
    let backend = model::open_device(a.measure.device, &options(&a.measure))?;
    let loss = pollster::block_on(async {
        let mut scorer = Scorer::new(backend, task.clone())?;
        let sums = scorer.sums(&map, &task.windows.all()).await?;
        Ok::<f64, ternary::Error>(sums.iter().sum::<f64>() / task.windows.tokens() as f64)
    })?;
    if a.measure.json {
        outln!(
            "{}",
            json!({
                "loss": loss, "perplexity": loss.exp(), "size_bytes": bytes,
                "tokens": task.windows.tokens(), "layer_bit_map": map,
            })
        );
    } else {
        outln!("bit-map     {}", brief(&map));
        outln!("loss        {loss:.4} nats/token");
        outln!("perplexity  {:.3}", loss.exp());
        outln!("size        {:.3} MB", bytes as f64 / 1e6);
    }
    Ok(())
}

fn options(a: &MeasureArgs) -> BackendOptions {
    BackendOptions {
        threads: a.threads,
        ..BackendOptions::default()
    }
}

/// On the CPU scorers side by side, on a GPU one.
fn evaluator(a: &MeasureArgs, space: &Arc<Space>, task: &Arc<Task>) -> Result<Box<dyn Evaluate>> {
    let backend = model::open_device(a.device, &options(a))?;
    if backend.info().kind == ternary::session::DeviceKind::Gpu {
        let scorer = Scorer::new(backend, task.clone())?;
        return Ok(Box::new(Local::new(space.clone(), task.clone(), scorer)));
    }
    drop(backend);
    let threads = match a.threads {
        0 => ternary::platform::threads(),
        n => n,
    };
    Ok(Box::new(Pool::new(space.clone(), task.clone(), threads)?))
}

/// `path` with `end` after its whole name.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// A map on one line: a letter for each layer, or for each of its matrices.
fn brief(map: &LayerBitMap) -> String {
    let letter = |mode: QuantMode| match mode {
        QuantMode::F32 | QuantMode::F16 => 'F',
        QuantMode::EightBit => '8',
        QuantMode::Ternary => 'T',
        QuantMode::Binary => 'B',
    };
    let layers = map.layer_modes.iter().map(|layer| match layer {
        LayerMode::Whole(mode) => letter(*mode).to_string(),
        LayerMode::PerMatrix(_) => MatrixKind::ALL
            .map(|kind| letter(layer.get(kind)))
            .iter()
            .collect(),
    });
    let layers: Vec<String> = layers.collect();
    format!(
        "{}|{}|{}",
        letter(map.embedding),
        layers.join(" "),
        letter(map.lm_head)
    )
}

fn line(e: &Entry) -> String {
    format!(
        "{:>9.3} MB  perplexity {:>9.3}  {}",
        e.size_bytes as f64 / 1e6,
        e.full_perplexity.unwrap_or(e.perplexity),
        brief(&e.layer_bit_map)
    )
}

fn report(r: &SearchResult) {
    outln!(
        "front of {} (F: f16, 8: eightbit, T: ternary, B: binary):",
        counted(r.evaluations.len(), "evaluation")
    );
    for e in &r.pareto_front {
        outln!("  {}", line(e));
    }
    outln!(
        "{}: {:.3} MB, perplexity {:.3} on all {} tokens, {}",
        if r.satisfied { "found" } else { "nearest" },
        r.size_bytes as f64 / 1e6,
        r.perplexity,
        r.validation_tokens,
        brief(&r.layer_bit_map)
    );
}

/// What to say of limits that nothing satisfies: the points of the front on either side of them.
fn unsatisfied(r: &SearchResult) -> String {
    let s = &r.settings;
    let perplexity = |e: &&Entry| e.full_perplexity.unwrap_or(e.perplexity);
    let within = s.max_bytes.and_then(|max| {
        let fits = r.pareto_front.iter().filter(|e| e.size_bytes <= max);
        fits.min_by(|a, b| perplexity(a).total_cmp(&perplexity(b)))
    });
    let good = s.max_perplexity.and_then(|max| {
        let fits = r.pareto_front.iter().filter(|e| perplexity(e) <= max);
        fits.min_by_key(|e| e.size_bytes)
    });
    let limits: Vec<String> = [
        s.max_perplexity.map(|p| format!("perplexity at most {p}")),
        s.max_bytes
            .map(|b| format!("size at most {} MB", b as f64 / 1e6)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut text = format!("no map has {}", limits.join(" and "));
    if let Some(e) = within {
        text += &format!("; the best within the size is{}", line(e));
    }
    if let Some(e) = good {
        text += &format!("; the smallest within the perplexity is{}", line(e));
    }
    if within.is_none() && good.is_none() {
        text += &format!(
            "; nearest: {:.3} MB at perplexity {:.3}. Raise a limit, or train further",
            r.size_bytes as f64 / 1e6,
            r.perplexity
        );
    }
    text
}

/// A model with the text it is measured on.
struct Target {
    opened: Opened,
    ids: Vec<u32>,
    hash: String,
    text: u32,
}

impl Target {
    fn open(a: &MeasureArgs) -> Result<Self> {
        let opened = if a.checkpoint.extension().is_some_and(|e| e == "safetensors") {
            lone_tensors(a)?
        } else {
            let opened = model::parameters(&a.checkpoint)?;
            agrees(a, &opened)?;
            opened
        };
        let json = &opened.companions.tokenizer;
        let tokenizer = Tokenizer::from_json(json)?;
        let encoder = opened.encoder(&tokenizer);
        let data = data::load(&a.val_data, &encoder, data::checksum(json))?;
        let mut ids = Vec::new();
        data.read(0, data.len(), &mut ids)?;
        Ok(Target {
            hash: fingerprint(&opened.config, &opened.parameters),
            text: data.header().checksum,
            opened,
            ids,
        })
    }

    fn describe(&self, a: &MeasureArgs) -> Value {
        json!({
            "checkpoint": output::name(&a.checkpoint),
            "checkpoint_sha256": self.hash,
            "validation_data": output::name(&a.val_data),
            "validation_crc32": format!("{:08x}", self.text),
        })
    }

    /// `sample_tokens`: 0 = all.
    fn task(self, sample_tokens: usize) -> Result<Task> {
        let config = self.opened.config;
        let windows = Windows::new(self.ids, config.max_seq_len, config.vocab_size)?;
        Ok(Task {
            remap: Remap::new(&config, &self.opened.random_modes),
            sample: match sample_tokens {
                0 => windows.all(),
                n => windows.sample(n),
            },
            parameters: self.opened.parameters,
            config,
            windows,
        })
    }
}

/// The model fields of a config file, whose `training` object is not looked at.
fn model_config(path: &Path, vocab: usize) -> Result<ModelConfig> {
    let mut value = model::read_json(path)?;
    if let Value::Object(fields) = &mut value {
        fields.shift_remove("training");
        fields
            .entry("vocab_size")
            .or_insert_with(|| Value::from(vocab));
    }
    ModelConfig::from_value(value).with_context(|| path.display().to_string())
}

/// A model.safetensors without its folder.
fn lone_tensors(a: &MeasureArgs) -> Result<Opened> {
    let (Some(config), Some(tokenizer)) = (&a.model_config, &a.tokenizer) else {
        bail!(
            "{} is a bare file of tensors: give its --model-config and --tokenizer, or the checkpoint folder",
            a.checkpoint.display()
        );
    };
    let (tokenizer, json) = tokenize::read(tokenizer)?;
    let config = model_config(config, tokenizer.vocab_size())?;
    let parameters = checkpoint::tensors(&a.checkpoint, &config)?;
    Ok(Opened {
        config,
        parameters,
        companions: Companions {
            tokenizer: json,
            chat_template: None,
        },
        metadata: Metadata::default(),
        random_modes: Vec::new(),
    })
}

/// A config and a tokenizer given beside a model that has its own must be the same.
fn agrees(a: &MeasureArgs, opened: &Opened) -> Result<()> {
    let own = Tokenizer::from_json(&opened.companions.tokenizer)?;
    if let Some(path) = &a.tokenizer
        && tokenize::read(path)?.0.vocabulary() != own.vocabulary()
    {
        bail!(
            "--tokenizer {}: it has other tokens than the checkpoint's own; leave it out",
            path.display()
        );
    }
    if let Some(path) = &a.model_config {
        let given = model_config(path, own.vocab_size())?;
        let sizes = |c: &ModelConfig| {
            [
                ("vocab_size", c.vocab_size),
                ("hidden_size", c.hidden_size),
                ("num_layers", c.num_layers),
                ("num_heads", c.num_heads),
                ("intermediate_size", c.intermediate_size),
            ]
        };
        for ((name, given), (_, own)) in sizes(&given).into_iter().zip(sizes(&opened.config)) {
            if given != own {
                bail!(
                    "--model-config {}: {name} is {given}, the checkpoint's own config says {own}; leave it out",
                    path.display()
                );
            }
        }
    }
    Ok(())
}
