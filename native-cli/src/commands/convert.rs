//! `onebit convert`.

use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use ternary::backend::BackendOptions;
use ternary::config::{self, ModelConfig, Owner, QuantMode, TrainConfig};
use ternary::data::{self, CONTEXT, TokenData};
use ternary::format::{ByteSource, Dense, FileKind, MemorySink, MemorySource, Packing};
use ternary::import::{Options, import};
use ternary::tokenizer::{ChatTemplate, Tokenizer};
use ternary::train::convert::{
    Conversion, Event, Outcome, Plan, Stage, StageKind, convert, float_config, student_config,
};
use ternary::train::{Teacher, Update, checkpoint};
use ternary::words::counted;

use crate::args::{Convert, Setting};
use crate::commands::watch::{Interrupts, Watch};
use crate::model::{self, Opened};
use crate::output::{self, errln, outln};

/// Tokens of a training sequence, where the model's context allows them.
const CONTEXT_LENGTH: usize = 256;
/// Minutes where neither they nor steps are given.
const MINUTES: f64 = 30.0;
/// Share of the data that is held back, and tokens of it at most.
const HELD_BACK: (f64, usize) = (0.05, 1 << 15);
/// Fields that --set would set in vain, and what decides them.
const DECIDED: [(&str, &str); 8] = [
    (
        "max_steps",
        "give --steps, --pretrain-steps or --distill-steps",
    ),
    ("eval_every", "the plan decides how often is measured"),
    (
        "eval_batches",
        "the plan decides how much text is measured on",
    ),
    ("lr_warmup_steps", "the warm-up is 3 % of a stage's steps"),
    ("quantize_fraction", "give --quantize-fraction"),
    ("distill_weight", "give --distill-weight"),
    ("distill_temperature", "give --distill-temperature"),
    ("seed", "give --seed"),
];
/// A model of this width is trained at [`PEAK`]; others by the root of the ratio.
const WIDTH: f64 = 256.0;
const PEAK: f64 = 5e-4;

pub fn run(a: &Convert) -> Result<()> {
    ensure!(
        !a.output.exists() || a.output.is_dir(),
        "--output {} is a file; name a folder",
        a.output.display()
    );
    output::check_is_folder("--output", &a.output, "; the .1bit is in it afterwards")?;
    for (flag, share) in [
        ("--pretrain-share", a.pretrain_share),
        ("--quantize-fraction", a.quantize_fraction),
    ] {
        ensure!(
            (0.0..=1.0).contains(&share),
            "{flag} {share}: expected a share between 0 and 1"
        );
    }
    if let Some(minutes) = a.minutes {
        ensure!(
            minutes > 0.0 && minutes.is_finite(),
            "--minutes {minutes}: expected a number above 0"
        );
    }
    let mut opened = open(&a.model)?;
    if let Some(path) = &a.chat_template {
        let text = model::read_small(path, "the chat template")?;
        ChatTemplate::new(&text).with_context(|| path.display().to_string())?;
        opened.companions.chat_template = Some(text);
    }
    let float = float_config(&opened.config).with_context(|| a.model.display().to_string())?;
    let tokenizer = Tokenizer::from_json(&opened.companions.tokenizer)
        .with_context(|| a.model.display().to_string())?;
    let (student, stages) = settings(a, &float)?;
    let (data, held_back) = data(a, &opened, &tokenizer, &student, &stages)?;
    let bytes_per_token = bytes_per_token(&tokenizer, &held_back)?;
    errln!(
        "model: {:.2}M parameters; training data: {}; held back: {}, {bytes_per_token:.2} bytes each",
        student.parameter_count() as f64 / 1e6,
        counted(data.len(), "token"),
        counted(held_back.len(), "token")
    );
    let options = BackendOptions {
        threads: a.threads,
        ..BackendOptions::default()
    };
    let backend = model::open_device(a.device, &options)?;
    let interrupts = Interrupts::listen()?;
    let conversion = Conversion {
        teacher: Teacher {
            config: float,
            parameters: std::mem::take(&mut opened.parameters),
        },
        student,
        stages,
        minutes: minutes(a),
        data,
        held_back,
        companions: opened.companions.clone(),
        dir: a.output.clone(),
        stop: interrupts.stop.clone(),
    };
    let pause = pause_at(a)?;
    let mut watch = None;
    let mut current = None;
    let mut observe = |event: Event| match event {
        Event::Doing(what) => errln!("{what}"),
        Event::Planned { plan, resumed } => tell(plan, resumed, bytes_per_token),
        Event::Begins { index, stage } => {
            errln!("stage {}: {}", index + 1, stage.kind.name());
            current = Some(stage.kind);
            if let Some(before) = watch.replace(Watch::new(stage.train.max_steps)) {
                before.finish();
            }
        }
        Event::Run(update) => {
            if let (Update::Step(report), Some((kind, step))) = (&update, &pause)
                && current == Some(*kind)
                && report.step >= *step
            {
                interrupts.stop.store(true, Ordering::Relaxed);
            }
            if let Some(watch) = &watch {
                watch.show(&update);
            }
        }
    };
    let outcome = pollster::block_on(convert(conversion, backend, &mut observe))?;
    if let Some(watch) = watch {
        watch.finish();
    }
    finish(a, &mut opened, &outcome, bytes_per_token)?;
    interrupts.result()
}

/// The float model at `path`, as training sees it.
fn open(path: &Path) -> Result<Opened> {
    ensure!(
        path.exists() || checkpoint::is_checkpoint_path(path),
        "{} does not exist; --model takes a Hugging Face folder, a .gguf, .safetensors or .1bit file, or a checkpoint",
        path.display()
    );
    let published = match path.is_dir() {
        true => is_published(path),
        false => {
            path.is_file()
                && matches!(
                    super::import::kind(path)?,
                    FileKind::Gguf | FileKind::Safetensors
                )
        }
    };
    if !published {
        return model::parameters(path);
    }
    let input = super::import::local(path)?;
    // Every digit that the file has.
    let options = Options {
        head: QuantMode::F32,
        body: Some(QuantMode::F32),
        ..Options::default()
    };
    let mut sink = MemorySink::default();
    let report = pollster::block_on(import(&input, &options, &mut sink, &mut |_| {}))
        .map_err(|e| anyhow::anyhow!(ternary::format::escaped(&e.to_string())))
        .with_context(|| format!("cannot read {}", path.display()))?;
    for warning in &report.warnings {
        errln!("warning: {}", ternary::format::escaped(warning));
    }
    let name = path.display().to_string();
    let source: Rc<dyn ByteSource> = Rc::new(MemorySource::new(&name, sink.bytes));
    model::of_source(source, path).context(
        "a conversion needs the tokenizer: put the model's tokenizer.json beside its weights",
    )
}

/// Whether a folder is one of Hugging Face's; those of `onebit train` say nothing of an
/// architecture.
fn is_published(folder: &Path) -> bool {
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap_or_default();
    match serde_json::from_str::<Value>(&config) {
        Ok(config) => !config["model_type"].is_null() || !config["architectures"].is_null(),
        Err(_) => !checkpoint::is_checkpoint_path(folder) || has_gguf(folder),
    }
}

fn has_gguf(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().to_lowercase().ends_with(".gguf"))
}

fn minutes(a: &Convert) -> Option<f64> {
    let given = [a.steps, a.pretrain_steps, a.distill_steps];
    let both = a.steps.is_some() || (a.pretrain_steps.is_some() && a.distill_steps.is_some());
    match (a.minutes, both) {
        (Some(minutes), _) => Some(minutes),
        (None, true) => None,
        // A stage alone, with steps of its own.
        (None, false) if given.iter().flatten().any(|steps| *steps > 0) => None,
        (None, false) => Some(MINUTES),
    }
}

/// The ternary model, and its stages: defaults, then --set, then the flags.
fn settings(a: &Convert, float: &ModelConfig) -> Result<(ModelConfig, Vec<Stage>)> {
    let mut model = serde_json::to_value(student_config(float, !a.no_sub_norms))?;
    let rate = PEAK * (WIDTH / float.hidden_size as f64).sqrt();
    let base = TrainConfig {
        lr: a.lr.unwrap_or(rate),
        batch_size: a.batch_size,
        accumulation_steps: a.accumulation_steps,
        seq_len: Some(a.context.unwrap_or(float.max_seq_len.min(CONTEXT_LENGTH))),
        save_every: a.save_every,
        log_every: a.log_every,
        keep_last: 1,
        keep_best: false,
        stats_every: Some(0),
        quantize_fraction: a.quantize_fraction,
        seed: a.seed,
        ..TrainConfig::finetune(float, None)
    };
    let mut training = serde_json::to_value(&base)?;
    for Setting { field, value } in &a.set {
        if let Some((_, instead)) = DECIDED.iter().find(|(decided, _)| decided == field) {
            bail!("--set {field}: {instead}");
        }
        let target = match config::owner(field).context("--set")? {
            Owner::Training => &mut training,
            Owner::Model => &mut model,
        };
        if let Value::Object(fields) = target {
            fields.insert(field.clone(), value.clone());
        }
    }
    let student = ModelConfig::from_value(model)?;
    for (field, was, is) in [
        ("vocab_size", float.vocab_size, student.vocab_size),
        ("hidden_size", float.hidden_size, student.hidden_size),
        ("num_layers", float.num_layers, student.num_layers),
        ("num_heads", float.num_heads, student.num_heads),
        ("max_seq_len", float.max_seq_len, student.max_seq_len),
    ] {
        ensure!(
            was == is,
            "--set {field}={is}: the model to convert has {was}; its sizes cannot change"
        );
    }
    let base = TrainConfig::from_value(training)?;
    let minutes = minutes(a).is_some();
    let stage = |kind, share: f64, given: Option<usize>, train: TrainConfig| -> Result<Stage> {
        let of_all = a.steps.map(|steps| (steps as f64 * share).round() as usize);
        let steps = given.or(of_all);
        let planned = steps.is_none() && minutes && share > 0.0;
        let train = TrainConfig {
            max_steps: steps.unwrap_or(0).max(1),
            ..train
        };
        train.validate()?;
        Ok(Stage {
            kind,
            share: planned.then_some(share),
            train: TrainConfig {
                max_steps: steps.unwrap_or(0),
                ..train
            },
        })
    };
    let distill = TrainConfig {
        distill_weight: a.distill_weight,
        distill_temperature: a.distill_temperature,
        distill_relations: a.relations,
        distill_relation_layer: a.relation_layer,
        // Another order of the data than before.
        seed: a.seed.wrapping_add(1),
        ..base.clone()
    };
    let share = a.pretrain_share;
    let stages = vec![
        stage(StageKind::Pretrain, share, a.pretrain_steps, base)?,
        stage(StageKind::Distill, 1.0 - share, a.distill_steps, distill)?,
    ];
    Ok((student, stages))
}

/// What is trained on, and what is measured on.
fn data(
    a: &Convert,
    opened: &Opened,
    tokenizer: &Tokenizer,
    student: &ModelConfig,
    stages: &[Stage],
) -> Result<(TokenData, TokenData)> {
    let template = opened.companions.chat_template.as_deref();
    // One that cannot be used costs the chat only.
    let template = template.and_then(|t| ChatTemplate::new(t).ok());
    let encoder = super::data::encoder(tokenizer, template, a.train_on);
    let crc = data::checksum(&opened.companions.tokenizer);
    let all = data::load(&a.data, &encoder, crc)?;
    if let Some(path) = &a.val_data {
        return Ok((all, data::load(path, &encoder, crc)?));
    }
    let seq = stages
        .first()
        .and_then(|stage| stage.train.seq_len)
        .unwrap_or(student.max_seq_len);
    let least = 2 * seq + 1;
    ensure!(
        all.len() >= 2 * least,
        "{}: {} is too little text: training and the part that is held back take {} each with sequences of {seq}; give more text, or a shorter --context",
        a.data.display(),
        counted(all.len(), "token"),
        least
    );
    let (share, most) = HELD_BACK;
    let held = ((all.len() as f64 * share) as usize).min(most).max(least);
    all.split(all.len() - held).with_context(|| {
        format!(
            "{}: its end is held back to measure on; --val-data names something else",
            a.data.display()
        )
    })
}

/// Bytes of text that a token which is learnt stands for.
fn bytes_per_token(tokenizer: &Tokenizer, held_back: &TokenData) -> Result<f64> {
    let mut ids = Vec::new();
    held_back.read(0, held_back.len(), &mut ids)?;
    ids.retain(|id| id & CONTEXT == 0);
    let bytes = tokenizer.decode(&ids)?.len();
    Ok(bytes as f64 / ids.len().max(1) as f64)
}

fn bits_per_byte(loss: f64, bytes_per_token: f64) -> f64 {
    loss / std::f64::consts::LN_2 / bytes_per_token
}

fn pause_at(a: &Convert) -> Result<Option<(StageKind, usize)>> {
    let Some(text) = &a.pause_at else {
        return Ok(None);
    };
    let kinds = [StageKind::Pretrain, StageKind::Distill];
    let parsed = text.split_once(':').and_then(|(stage, step)| {
        let kind = kinds.into_iter().find(|kind| kind.name() == stage)?;
        Some((kind, step.parse().ok()?))
    });
    match parsed {
        Some(at) => Ok(Some(at)),
        None => bail!("--pause-at {text}: expected pretrain:N or distill:N"),
    }
}

/// Say what is known beforehand, and what is going to be done.
fn tell(plan: &Plan, resumed: bool, bytes_per_token: f64) {
    let before = &plan.before;
    let figure = |loss: f64| {
        let bits = bits_per_byte(loss, bytes_per_token);
        format!("{loss:.4} nats per token ({bits:.3} bits per byte)")
    };
    errln!("held-back text: float {}", figure(before.float));
    if let Some(loss) = before.sub_norms {
        errln!(
            "  with norms before the output projections, still float: {}",
            figure(loss)
        );
    }
    errln!("  just quantized: {}", figure(before.quantized));
    let mut seconds = 0.0;
    for (stage, step) in plan.stages.iter().zip(&plan.step_seconds) {
        let steps = stage.train.max_steps;
        seconds += steps as f64 * step;
        errln!(
            "plan: {} {}, {}, {step:.2} s a step",
            stage.kind.name(),
            counted(steps, "step"),
            counted(plan.tokens(stage), "token")
        );
    }
    errln!(
        "plan: about {:.1} minutes of training{}",
        seconds / 60.0,
        match resumed {
            true => " in all, as decided when it was begun",
            false => "",
        }
    );
}

/// The `.1bit`, the curve and the table.
fn finish(a: &Convert, opened: &mut Opened, outcome: &Outcome, bytes_per_token: f64) -> Result<()> {
    let file = a.output.join("model.1bit");
    let mut bytes = None;
    if let Some(path) = outcome.checkpoint.as_deref().filter(|_| !outcome.stopped) {
        let loaded = checkpoint::load(path)?;
        opened.config = loaded.config;
        opened.parameters = loaded.tensors;
        let encoded = opened.encode(path, Packing::Ternary2, Dense::No)?;
        bytes = Some(encoded.len());
        write(&file, &encoded)?;
    }
    let figures: Vec<Value> = outcome
        .figures
        .iter()
        .map(|figure| {
            json!({
                "what": figure.what,
                "loss": figure.loss,
                "bits_per_byte": bits_per_byte(figure.loss, bytes_per_token),
                "tokens": figure.tokens,
            })
        })
        .collect();
    let stages: Vec<Value> = outcome
        .plan
        .stages
        .iter()
        .map(|stage| {
            json!({
                "stage": stage.kind.name(),
                "steps": stage.train.max_steps,
                "tokens": outcome.plan.tokens(stage),
            })
        })
        .collect();
    let result = json!({
        "file": bytes.map(|_| output::name(&file)),
        "bytes": bytes,
        "stopped": outcome.stopped,
        "figures": figures,
        "stages": stages,
    });
    let text = serde_json::to_string_pretty(&result)?;
    write(&a.output.join("result.json"), text.as_bytes())?;
    if outcome.stopped {
        errln!("stopped; the same command goes on");
    }
    if bytes.is_some() {
        let runs = vec![a.output.clone()];
        super::plot::run(&super::plot::of_losses(runs, a.output.join("curve.svg")))?;
        errln!("wrote {}", file.display());
    }
    if a.json {
        outln!("{result}");
        return Ok(());
    }
    outln!("| held-back text | nats per token | bits per byte | tokens trained on |");
    outln!("|---|---|---|---|");
    for figure in &outcome.figures {
        outln!(
            "| {} | {:.4} | {:.3} | {} |",
            figure.what,
            figure.loss,
            bits_per_byte(figure.loss, bytes_per_token),
            figure.tokens
        );
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    output::replace(path, |draft| {
        std::fs::write(draft, bytes).with_context(|| format!("cannot write {}", path.display()))
    })
}
