//! `onebit finetune`.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ternary::config::{LoraConfig, ModelConfig, TrainConfig};
use ternary::ranks::Ranks;
use ternary::tokenizer::Tokenizer;
use ternary::train::Start;

use crate::args::{Finetune, FinetuneMode};
use crate::commands::train::{Job, check_folder, execute};
use crate::model;

pub fn run(a: &Finetune, ranks: Option<Ranks>) -> Result<()> {
    check_folder(&a.training)?;
    // Beside an adapter the model stays as it is.
    let seed = |config: &ModelConfig| {
        let (_, train) = read_config(a, config.clone())?;
        Ok(train.lora.is_none().then_some(train.seed))
    };
    let mut opened = model::parameters_to_train(&a.model, seed)?;
    if let Some(path) = &a.training.bit_map {
        opened.remap(path)?;
    }
    let tokenizer = Tokenizer::from_json(&opened.companions.tokenizer)
        .with_context(|| a.model.display().to_string())?;
    let (config, train) = read_config(a, opened.config)?;
    execute(
        &a.training,
        Job {
            config,
            train,
            tokenizer,
            companions: opened.companions,
            start: Start {
                parameters: Some(opened.parameters),
                name: a.model.display().to_string(),
                teacher: None,
            },
        },
        ranks,
    )
}

/// The model's config without what only a training from scratch wants, and the training's:
/// defaults, then the config file, --set, the flags.
fn read_config(a: &Finetune, base: ModelConfig) -> Result<(ModelConfig, TrainConfig)> {
    let base = base.for_finetuning();
    let mode = a.mode.unwrap_or(match a.preference {
        Some(_) => FinetuneMode::Lora,
        None => FinetuneMode::Full,
    });
    let lora = match mode {
        FinetuneMode::Full => {
            let given = [
                ("--lora-rank", a.lora_rank.is_some()),
                ("--lora-alpha", a.lora_alpha.is_some()),
                ("--lora-targets", a.lora_targets.is_some()),
            ];
            if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
                bail!(
                    "{flag} is of an adapter, and all weights are to be trained; give --mode lora, too"
                );
            }
            None
        }
        FinetuneMode::Lora => {
            let targets = a.lora_targets.as_deref().unwrap_or("q,k,v,o,gate,up,down");
            Some(LoraConfig {
                rank: a.lora_rank.unwrap_or(8),
                alpha: a.lora_alpha.unwrap_or(16.0),
                targets: LoraConfig::parse_targets(targets).context("--lora-targets")?,
            })
        }
    };
    if let Some(lora) = &lora {
        lora.validate(&base).context("--mode lora")?;
    }
    let mut training = TrainConfig::finetune(&base, lora);
    if a.preference.is_some() {
        // What is learnt is a difference, which a few small steps make.
        training.lr /= 10.0;
        training.preference = a.preference;
    }
    training.preference_beta = a.beta.unwrap_or(training.preference_beta);
    let mut training = serde_json::to_value(training)?;
    let mut given = match &a.config {
        None => Value::Object(Default::default()),
        Some(path) => match model::read_json(path)?.get_mut("training") {
            Some(fields @ Value::Object(_)) => fields.take(),
            _ => bail!(
                "{}: there is no `training` object; the model's own fields come from --model",
                path.display()
            ),
        },
    };
    let mut model = serde_json::to_value(&base)?;
    a.training.apply_settings(&mut model, &mut given)?;
    let warmup_given =
        given.get("lr_warmup_steps").is_some() || a.training.lr_warmup_steps.is_some();
    if let (Value::Object(all), Value::Object(given)) = (&mut training, given) {
        all.extend(given);
    }
    let mut train = TrainConfig::from_value(training)?;
    a.training.override_fields(&mut train)?;
    if !warmup_given {
        train.lr_warmup_steps = TrainConfig::finetune_warmup(train.max_steps);
    }
    let config = ModelConfig::from_value(model)?;
    for (field, was, is) in [
        ("vocab_size", base.vocab_size, config.vocab_size),
        ("hidden_size", base.hidden_size, config.hidden_size),
        ("num_layers", base.num_layers, config.num_layers),
        ("max_seq_len", base.max_seq_len, config.max_seq_len),
    ] {
        if was != is {
            bail!("--set {field}={is}: the model to fine-tune has {was}; its sizes cannot change");
        }
    }
    Ok((config, train))
}
