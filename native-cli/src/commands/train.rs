//! `onebit train`, and the training behind it that `onebit finetune` shares.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ternary::backend::BackendOptions;
use ternary::config::{self, ModelConfig, Owner, TrainConfig};
use ternary::data::{self, Encoder, StreamedTexts, TrainingData};
use ternary::params;
use ternary::platform::Interrupt;
use ternary::ranks::Ranks;
use ternary::search::fingerprint;
use ternary::tokenizer::{ChatTemplate, Tokenizer};
use ternary::train::checkpoint::{self, Companions};
use ternary::train::{self, MemoryPlan, RunOptions, Start, Teacher, Trainer, Update};
use ternary::words::counted;

use crate::args::{MixedPrecision, Setting, Train, TrainingArgs};
use crate::commands::tokenize;
use crate::commands::watch::{self, Interrupts, Watch};
use crate::output::{self, errln};
use crate::{cluster, model};

pub fn run(a: &Train, ranks: Option<Ranks>) -> Result<()> {
    check_folder(&a.training)?;
    if let Some(path) = &a.sweep {
        cluster::alone("--sweep")?;
        super::sweep::check(a)?;
        return super::sweep::run(a, path);
    }
    let (tokenizer, tokenizer_json) = tokenize::read(&a.tokenizer)?;
    let (config, train) = read_config(a, tokenizer.vocab_size())?;
    let start = start(a, &tokenizer, &config, train.seed)?;
    let job = Job {
        config,
        train,
        tokenizer,
        companions: Companions {
            tokenizer: tokenizer_json,
            chat_template: None,
        },
        start,
    };
    execute(&a.training, job, ranks)
}

/// The weights that `--init-from` names, or those that the search of `--bit-map` was made on, in
/// the model's bit-map.
fn start(a: &Train, tokenizer: &Tokenizer, config: &ModelConfig, seed: u64) -> Result<Start> {
    let searched = a.training.bit_map.as_deref().map(searched).transpose()?;
    let searched = searched.flatten();
    let path = match &a.init_from {
        Some(path) if path.as_os_str() == "none" => return Ok(Start::default()),
        Some(path) => path,
        // The run has weights of its own by now.
        None if a.training.resume => return Ok(Start::default()),
        None => match &searched {
            Some((path, _)) => path,
            None => return Ok(Start::default()),
        },
    };
    let needed = || {
        format!(
            "cannot begin with {}; name a model with --init-from, or begin from scratch with --init-from none",
            path.display()
        )
    };
    if let (None, Some((_, hash))) = (&a.init_from, &searched) {
        let found = model::parameters(path).with_context(needed)?;
        if fingerprint(&found.config, &found.parameters) != *hash {
            bail!(
                "{} has changed since the search: its map is of other weights. Name the model with --init-from",
                path.display()
            );
        }
    }
    let mut opened = model::parameters_to_train(path, |_| Ok(Some(seed))).with_context(needed)?;
    let theirs = Tokenizer::from_json(&opened.companions.tokenizer)?;
    if theirs.vocabulary() != tokenizer.vocabulary() {
        bail!(
            "{}: its tokenizer has other tokens than --tokenizer; weights and tokens belong together",
            path.display()
        );
    }
    errln!("beginning with the weights of {}", path.display());
    opened.remap_to(&config.bit_map())?;
    Ok(Start {
        parameters: Some(opened.parameters),
        name: path.display().to_string(),
        teacher: None,
    })
}

/// The checkpoint of a search result, and its hash; none if the file is something else.
pub(super) fn searched(path: &Path) -> Result<Option<(PathBuf, String)>> {
    let value = model::read_json(path)?;
    let text = |key: &str| value["source"][key].as_str().map(str::to_owned);
    Ok(text("checkpoint")
        .zip(text("checkpoint_sha256"))
        .map(|(path, hash)| (path.into(), hash)))
}

/// What is to be trained.
pub struct Job {
    pub config: ModelConfig,
    pub train: TrainConfig,
    pub tokenizer: Tokenizer,
    pub companions: Companions,
    pub start: Start,
}

/// Refuse an --output-dir that is named as a file.
pub fn check_folder(a: &TrainingArgs) -> Result<()> {
    let then = ", of which `onebit export` makes a .1bit or .gguf file later";
    output::check_is_folder("--output-dir", &a.output_dir, then)
}

/// Open data and device, and train.
pub fn execute(a: &TrainingArgs, job: Job, ranks: Option<Ranks>) -> Result<()> {
    let Job {
        config,
        mut train,
        tokenizer,
        mut companions,
        mut start,
    } = job;
    if a.output_dir.exists() && !a.output_dir.is_dir() {
        bail!(
            "--output-dir {} is a file; name a folder",
            a.output_dir.display()
        );
    }
    if let Some(path) = &a.chat_template {
        let text = model::read_small(path, "the chat template")?;
        // A template that cannot be used should not be found out after training.
        ChatTemplate::new(&text).with_context(|| path.display().to_string())?;
        companions.chat_template = Some(text);
    }
    let crc = data::checksum(&companions.tokenizer);
    // One that came with a model and cannot be used costs the chat only.
    let template = companions.chat_template.as_deref();
    let template = template.and_then(|t| ChatTemplate::new(t).ok());
    if a.resume && train.packing.is_none() {
        train.packing = checkpoint::recorded_packing(&a.output_dir)?;
    }
    let encoder = super::data::encoder(&tokenizer, template, a.train_on).packed(train.packing);
    let seq = train.seq_len.unwrap_or(config.max_seq_len);
    let load = |path: &Path, encoder: &Encoder| match train.preference {
        Some(_) => data::load_pairs(path, encoder, seq),
        None => data::load(path, encoder, crc),
    };
    let data = match (a.streaming, train.preference) {
        (true, Some(_)) => bail!("--streaming: preference pairs are read beforehand; leave it out"),
        (true, None) => TrainingData::Texts(StreamedTexts::open(&a.data_dir, &encoder)?),
        (false, _) => TrainingData::Tokens(load(&a.data_dir, &encoder)?),
    };
    let packing = train.packing.unwrap_or_else(|| data.packing());
    let encoder = encoder.packed(Some(packing));
    let validation = a
        .val_data_dir
        .as_ref()
        .map(|p| load(p, &encoder))
        .transpose()?;
    train.packing = Some(packing);
    if let TrainingData::Tokens(tokens) = &data
        && train.seq_len.is_none()
        && tokens.header().seq_len > 0
    {
        let meant_for = tokens.header().seq_len as usize;
        train.seq_len = Some(meant_for.min(config.max_seq_len));
    }
    if let Some(path) = &a.teacher {
        start.teacher = Some(teacher(path, &tokenizer)?);
    }

    let options = BackendOptions {
        threads: a.threads,
        f16_products: a.mixed_precision == MixedPrecision::F16,
        ..BackendOptions::default()
    };
    let backend = model::open_device(a.device, &options)?;
    let info = backend.info();
    let trained: usize = params::trained(&config, train.lora.as_ref())
        .iter()
        .map(params::Param::len)
        .sum();
    errln!(
        "model: {:.2}M parameters, {:.2}M trained; training data: {}; validation: {}",
        config.parameter_count() as f64 / 1e6,
        trained as f64 / 1e6,
        match &data {
            TrainingData::Tokens(tokens) => counted(tokens.len(), "token"),
            TrainingData::Texts(t) => format!(
                "{}, {:.1} MB, streamed",
                counted(t.files(), "file"),
                t.bytes() as f64 / 1e6
            ),
        },
        match &validation {
            Some(data) => counted(data.len(), "token"),
            None => "none".to_owned(),
        },
    );
    let teacher = start.teacher.as_ref().map(|t| &t.config);
    let plan = MemoryPlan::with_teacher(backend.as_ref(), &config, &train, teacher)?;
    errln!(
        "memory: {plan}; the {} allows {}",
        info.kind,
        backend.limits()
    );
    let place = ranks.as_ref().map(|ranks| (ranks.rank(), ranks.size()));
    let dir = a.output_dir.clone();
    let interrupts = Interrupts::listen_and(move |interrupt| {
        if let Some((_, size)) = place.filter(|_| interrupt == Interrupt::Terminate) {
            errln!("{}", if_one_died(size, &dir));
        }
    })?;
    let mut trainer = Trainer::from_start(backend, config, train, start)?;
    if let Some(ranks) = ranks {
        let size = ranks.size();
        trainer.join(ranks)?;
        errln!(
            "{}, {} a step among them",
            counted(size, "rank"),
            counted(trainer.train.accumulation_steps, "micro-batch")
        );
    }
    let watch = Watch::new(trainer.train.max_steps);
    let pause = interrupts.stop.clone();
    let options = RunOptions {
        output_dir: a.output_dir.clone(),
        companions,
        resume: a.resume,
        stop: interrupts.stop.clone(),
        tensorboard: a.tensorboard,
    };
    let mut observe = |update: Update| {
        if let Update::Step(r) = &update
            && a.pause_at.is_some_and(|at| r.step >= at)
        {
            pause.store(true, Ordering::Relaxed);
        }
        watch.show(&update);
    };
    let summary = pollster::block_on(train::run(
        &mut trainer,
        &data,
        validation.as_ref(),
        &options,
        &mut observe,
    ))?;
    cluster::done();
    watch.finish();
    let val = match summary.validated {
        None => String::new(),
        Some((step, loss)) if step == summary.step => format!(", validation loss {loss:.4}"),
        Some((step, loss)) => format!(", validation loss {loss:.4} at step {step}"),
    };
    if let Some(stale) = summary.out_of_patience {
        errln!(
            "{} brought no lower loss: {} is the best model",
            match stale {
                1 => "1 validation".to_owned(),
                many => format!("{many} validations in a row"),
            },
            a.output_dir.join("best").display()
        );
    }
    errln!(
        "{} at step {}: {}{val}\n{}",
        if summary.stopped { "stopped" } else { "done" },
        summary.step,
        watch::loss(summary.train_loss),
        summary.checkpoint.display()
    );
    interrupts.result()
}

/// What to say when all ranks are told to end, which they are when one of them has died.
fn if_one_died(size: usize, dir: &Path) -> String {
    let last = match checkpoint::list(dir).map(|mut all| all.pop()) {
        Ok(Some(path)) => format!("the last checkpoint is {}", path.display()),
        _ => "there is no checkpoint yet".to_owned(),
    };
    format!(
        "if one of the {size} processes has died, which mpirun then says, that step cannot be finished and the run ends here: {last}; the same command with --resume goes on from it, with any number of processes"
    )
}

/// The model at `path`, if it has the same tokens.
fn teacher(path: &Path, tokenizer: &Tokenizer) -> Result<Teacher> {
    let opened = model::parameters(path)?;
    let theirs = Tokenizer::from_json(&opened.companions.tokenizer)?;
    if theirs.vocabulary() != tokenizer.vocabulary() {
        bail!(
            "--teacher {}: its tokenizer has other tokens ({} of them) than the student's ({}); distillation compares them token by token, so give a teacher with the same tokenizer",
            path.display(),
            theirs.vocab_size(),
            tokenizer.vocab_size()
        );
    }
    Ok(Teacher {
        config: opened.config,
        parameters: opened.parameters,
    })
}

/// The config file's model fields and `training` object, overridden by the flags.
pub fn read_config(a: &Train, vocab: usize) -> Result<(ModelConfig, TrainConfig)> {
    let path = a.config.display();
    let mut value = model::read_json(&a.config)?;
    let mut training = Value::Object(Default::default());
    if let Value::Object(fields) = &mut value {
        training = fields.shift_remove("training").unwrap_or(training);
        misplaced(fields, &training).with_context(|| path.to_string())?;
        // The tokenizer knows the vocabulary best.
        fields
            .entry("vocab_size")
            .or_insert_with(|| Value::from(vocab));
    }
    let read = |model, training| -> Result<_> {
        Ok((
            TrainConfig::from_value(training)?,
            ModelConfig::from_value(model)?,
        ))
    };
    let file = (value.clone(), training.clone());
    a.training.apply_settings(&mut value, &mut training)?;
    let (mut train, mut config) = read(value, training).with_context(|| {
        // What the file says is not at fault where it is right without the flags.
        let set = !a.training.set.is_empty() && read(file.0, file.1).is_ok();
        let flags = a.training.set.iter();
        match set {
            true => flags.map(Setting::to_string).collect::<Vec<_>>().join(" "),
            false => path.to_string(),
        }
    })?;
    if let Some(path) = &a.training.bit_map {
        config.layer_bit_map = Some(model::bit_map(path, config.num_layers)?);
        config
            .validate()
            .with_context(|| path.display().to_string())?;
    }
    let random = a.random_modes.as_ref();
    a.training.check_given_once("random_modes", random)?;
    if let Some(modes) = random {
        train.random_modes.clone_from(modes);
    }
    if config.vocab_size < vocab {
        bail!(
            "{path}: vocab_size {} is smaller than the tokenizer's {vocab} tokens; leave it out or raise it",
            config.vocab_size
        );
    }
    a.training.override_fields(&mut train)?;
    if train.max_steps > 0 && train.lr_warmup_steps >= train.max_steps {
        let shorter = (train.max_steps / 10).max(1);
        if a.training.lr_warmup_steps.is_some() {
            log::warn!(
                "the warm-up of {} is no shorter than the run of {}: the learning rate never reaches its peak",
                counted(train.lr_warmup_steps, "step"),
                train.max_steps
            );
        } else if shorter < train.lr_warmup_steps {
            log::warn!(
                "the config's warm-up of {} is no shorter than the run of {}: {shorter} {} used (--lr-warmup-steps sets another)",
                counted(train.lr_warmup_steps, "step"),
                train.max_steps,
                if shorter == 1 { "is" } else { "are" }
            );
            train.lr_warmup_steps = shorter;
        }
    }
    Ok((config, train))
}

/// Refuse fields of the training beside the object that they belong in, and fields of the model in
/// it.
fn misplaced(model: &serde_json::Map<String, Value>, training: &Value) -> Result<()> {
    let is = |field: &str, owner| config::owner(field).is_ok_and(|of| of == owner);
    if let Some(field) = model.keys().find(|field| is(field, Owner::Training)) {
        bail!("`{field}` is a field of the training: put it into the object \"training\"");
    }
    let mut fields = training
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.keys());
    if let Some(field) = fields.find(|field| is(field, Owner::Model)) {
        bail!("`{field}` is a field of the model: put it beside \"training\", not into it");
    }
    Ok(())
}

impl TrainingArgs {
    /// Put the `--set` fields into the `training` object, or into the model's where it has no such
    /// field.
    pub fn apply_settings(&self, model: &mut Value, training: &mut Value) -> Result<()> {
        for Setting { field, value } in &self.set {
            let target = match config::owner(field).context("--set")? {
                Owner::Training => &mut *training,
                Owner::Model => &mut *model,
            };
            if let Value::Object(fields) = target {
                fields.insert(field.clone(), value.clone());
            }
        }
        Ok(())
    }

    /// A field is given by its flag or by `--set`: of both, one would be passed over.
    fn check_given_once<T>(&self, field: &str, flag: Option<&T>) -> Result<()> {
        let set = self.set.iter().find(|setting| setting.field == field);
        if let (Some(setting), Some(_)) = (set, flag) {
            bail!(
                "{setting} and --{} are given: leave one out",
                field.replace('_', "-")
            );
        }
        Ok(())
    }

    /// The flags override the config, and the result must be valid.
    pub fn override_fields(&self, train: &mut TrainConfig) -> Result<()> {
        macro_rules! over {
            ($($flag:ident),*) => { $(
                self.check_given_once(stringify!($flag), self.$flag.as_ref())?;
                if let Some(v) = self.$flag { train.$flag = v; }
            )* };
        }
        over!(
            optimizer,
            lr,
            lr_decay,
            lr_warmup_steps,
            max_steps,
            batch_size,
            accumulation_steps,
            sync_every,
            save_every,
            keep_last,
            keep_best,
            log_every,
            seed,
            shuffle_buffer,
            distill_weight,
            distill_temperature
        );
        self.check_given_once("stats_every", self.stats_every.as_ref())?;
        self.check_given_once("packing", self.packing.as_ref())?;
        train.stats_every = self.stats_every.or(train.stats_every);
        train.packing = self.packing.or(train.packing);
        Ok(train.validate()?)
    }
}
