//! What a sweep's losses depend on beside its plan. `sweep.json` keeps it, and the command goes on
//! only where it is the same.

use anyhow::{Result, ensure};
use clap::ValueEnum;
use serde_json::{Map, Value};
use ternary::config::{ModelConfig, TrainConfig};
use ternary::data::{self, StreamedTexts};
use ternary::search::fingerprint;
use ternary::tokenizer::{ChatTemplate, Tokenizer};

use super::super::{data as encoding, train};
use crate::args::Train;
use crate::model;

/// These say how often something is written, and no more.
const FREE: [&str; 5] = [
    "save_every",
    "keep_last",
    "keep_best",
    "log_every",
    "stats_every",
];
/// Characters of a value that a message shows.
const SHOWN: usize = 60;

/// The fields of every training: a field that is the same in all of them has its value, another
/// the list of all.
pub fn fields(configs: &[(ModelConfig, TrainConfig)]) -> Result<Map<String, Value>> {
    let mut lists: Map<String, Value> = Map::new();
    for (model, train) in configs {
        for part in [serde_json::to_value(model)?, serde_json::to_value(train)?] {
            let Value::Object(part) = part else {
                continue;
            };
            for (name, value) in part {
                if !FREE.contains(&name.as_str())
                    && let Value::Array(list) = lists
                        .entry(name)
                        .or_insert_with(|| Value::Array(Vec::new()))
                {
                    list.push(value);
                }
            }
        }
    }
    for value in lists.values_mut() {
        if let Value::Array(list) = value
            && list.len() == configs.len()
            && list.windows(2).all(|pair| pair[0] == pair[1])
        {
            *value = list.swap_remove(0);
        }
    }
    Ok(lists)
}

/// What is read, by the flags that name it, as numbers that others would not have; and flags that
/// are no fields.
pub fn sources(a: &Train, tokenizer: &(Tokenizer, String)) -> Result<Map<String, Value>> {
    let (tokenizer, tokenizer_json) = tokenizer;
    let training = &a.training;
    let mut found = Map::new();
    let mut add = |flag: &str, value: Value| found.insert(flag.to_owned(), value);
    add("--tokenizer", data::checksum(tokenizer_json).into());
    let mut template = None;
    if let Some(path) = &training.chat_template {
        let text = model::read_small(path, "the chat template")?;
        add("--chat-template", data::checksum(&text).into());
        template = ChatTemplate::new(&text).ok();
    }
    for (flag, path) in [
        ("--data-dir", Some(&training.data_dir)),
        ("--val-data-dir", training.val_data_dir.as_ref()),
    ] {
        let Some(path) = path else {
            continue;
        };
        ensure!(
            path.is_file() || path.is_dir() || !path.exists() && path.as_os_str() != "-",
            "{flag} {}: a pipe is read once, but every training of a sweep reads the data; name a file or a folder",
            path.display()
        );
        let checksum = match training.streaming && flag == "--data-dir" {
            true => {
                let encoder = encoding::encoder(tokenizer, template.clone(), training.train_on);
                StreamedTexts::open(path, &encoder)?.checksum()
            }
            false => data::files_checksum(path)?,
        };
        add(flag, checksum.into());
    }
    let weights = |path| -> Result<Value> {
        let opened = model::parameters(path)?;
        Ok(fingerprint(&opened.config, &opened.parameters).into())
    };
    if let Some(path) = &training.teacher {
        add("--teacher", weights(path)?);
    }
    match (&a.init_from, &training.bit_map) {
        (Some(path), _) if path.as_os_str() == "none" => {}
        (Some(path), _) => {
            add("--init-from", weights(path)?);
        }
        (None, Some(map)) => {
            if let Some((_, hash)) = train::searched(map)? {
                add("--init-from", hash.into());
            }
        }
        (None, None) => {}
    }
    add("--streaming", training.streaming.into());
    let on = training.train_on.to_possible_value();
    add(
        "--train-on",
        on.map_or(Value::Null, |on| on.get_name().into()),
    );
    Ok(found)
}

/// What is another in `is` than it `was`, in words.
pub fn differences(was: &Value, is: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for part in ["sources", "fields"] {
        let (was, is) = (&was[part], &is[part]);
        let names = was.as_object().into_iter().chain(is.as_object());
        let mut names: Vec<&String> = names.flat_map(Map::keys).collect();
        names.sort();
        names.dedup();
        for name in names {
            let (was, is) = (&was[name], &is[name]);
            if was == is {
                continue;
            }
            let [before, now] = [was, is].map(brief);
            all.push(
                match part == "sources" && !was.is_boolean() && name != "--train-on" {
                    true => format!("{name} names something else"),
                    false if before == now => format!("{name} differs"),
                    false => format!("{name} was {before}, is {now}"),
                },
            );
        }
    }
    all
}

fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_another_is_named_and_what_only_writes_is_free() {
        let model = ModelConfig::default();
        let train = |lr: f64, batch_size: usize, save_every: usize| TrainConfig {
            lr,
            batch_size,
            save_every,
            ..TrainConfig::default()
        };
        let of = |trains: &[TrainConfig]| {
            let configs: Vec<_> = trains.iter().map(|t| (model.clone(), t.clone())).collect();
            json!({"sources": {"--data-dir": 1}, "fields": fields(&configs).unwrap()})
        };
        let was = of(&[train(0.1, 1, 5), train(0.2, 1, 5)]);
        assert_eq!(was["fields"]["batch_size"], 1);
        assert_eq!(was["fields"]["lr"], json!([0.1, 0.2]));
        assert!(differences(&was, &of(&[train(0.1, 1, 7), train(0.2, 1, 7)])).is_empty());
        let mut is = of(&[train(0.1, 2, 5), train(0.3, 2, 5)]);
        is["sources"]["--data-dir"] = 2.into();
        is["sources"]["--teacher"] = "a".into();
        assert_eq!(
            differences(&was, &is),
            [
                "--data-dir names something else",
                "--teacher names something else",
                "batch_size was 1, is 2",
                "lr was [0.1,0.2], is [0.1,0.3]"
            ]
        );
    }
}
