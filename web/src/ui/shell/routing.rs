//! What was dropped or chosen goes where its kind belongs.

use js_sys::{Array, JSON, Object, Uint8Array};
use leptos::prelude::Set;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Blob, File};

use super::Shell;
use crate::js::field;
use crate::protocol::{AdapterSource, Files, Handle, Source};
use crate::ui::chat::is_export;
use crate::ui::models::UsedAdapter;
use crate::ui::page::{Step, Tab};
use crate::ui::widgets::files::text;
use crate::ui::widgets::picked::{Found, Picked};

/// Published models that are one file, or have a file that says so.
const PUBLISHED: [&str; 3] = [".gguf", ".safetensors", ".safetensors.index.json"];
/// What makes a folder one of a published model, if only of one that is not read.
const OF_A_MODEL: [&str; 2] = ["config.json", "pytorch_model.bin"];
const TEXTS: [&str; 11] = [
    ".txt", ".text", ".md", ".csv", ".jsonl", ".ndjson", ".json", ".parquet", ".html", ".rs", ".py",
];
const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTER_WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
/// Files of no known ending whose first bytes are read.
const MOST_UNKNOWN: usize = 200;
/// How files begin that are known by that, whatever they are called.
const GGUF: &[u8] = b"GGUF";
const ONE_BIT: &[u8] = b"\x891BIT";
const PARQUET: &[u8] = b"PAR1";
/// The longest header of a safetensors file that is looked into.
const LONGEST_HEADER: u64 = 16 << 20;
/// What is read of a JSON file to see what it holds.
const JSON_BEGINS: usize = 4096;

/// The first bytes of a file; fewer where it is shorter or can't be read.
async fn begins(blob: &Blob, from: u64, bytes: u64) -> Vec<u8> {
    let read = async {
        let slice = blob.slice_with_f64_and_f64(from as f64, (from + bytes) as f64)?;
        JsFuture::from(slice.array_buffer()).await
    };
    match read.await {
        Ok(buffer) => Uint8Array::new(&buffer).to_vec(),
        Err(_) => Vec::new(),
    }
}

/// What a safetensors file says before its tensors.
async fn header(file: &File) -> String {
    let length = begins(file, 0, 8).await;
    let Ok(length) = length.try_into().map(u64::from_le_bytes) else {
        return String::new();
    };
    let header = begins(file, 8, length.min(LONGEST_HEADER)).await;
    String::from_utf8_lossy(&header).into_owned()
}

/// The model that an adapter's configuration names.
fn base(config: &str) -> Option<String> {
    let config = JSON::parse(config.trim_start_matches('\u{feff}')).ok()?;
    let base = field(&config, "base_model_name_or_path").as_string()?;
    Some(base).filter(|base| !base.trim().is_empty())
}

/// An adapter where a model is expected.
async fn adapter(picked: &Picked) -> Option<UsedAdapter> {
    let of_adapter = |found: &Found| found.is(&[ADAPTER_CONFIG]) || found.is(&ADAPTER_WEIGHTS);
    if let Some(first) = picked.outermost(of_adapter) {
        // Trainings of whole models leave such a file beside the model, too.
        let is_model = |found: &Found| {
            found.ends(&[".gguf", ".safetensors"]) || found.name().starts_with("pytorch_model")
        };
        if picked
            .beside(first)
            .any(|found| is_model(found) && !of_adapter(found))
        {
            return None;
        }
        let files: Vec<&Found> = picked
            .beside(first)
            .filter(|found| of_adapter(found))
            .collect();
        let config = files.iter().find(|found| found.is(&[ADAPTER_CONFIG]));
        let config = match config {
            Some(config) => text(&config.file).await.unwrap_or_default(),
            None => String::new(),
        };
        let folder = first.folder().rsplit('/').next().unwrap_or_default();
        let named = [folder, picked.folder.as_deref().unwrap_or_default()];
        let name = named.into_iter().find(|name| !name.is_empty());
        return Some(UsedAdapter {
            name: name.unwrap_or(first.name()).to_owned(),
            base: base(&config),
            source: AdapterSource::Files(files.iter().map(|f| Handle(f.file.clone())).collect()),
        });
    }
    let is_weights = |found: &Found| found.ends(&[".safetensors"]);
    let first = picked.outermost(is_weights)?;
    if picked.beside(first).any(|found| found.is(&["config.json"])) {
        return None;
    }
    let header = header(&first.file).await;
    let metadata = JSON::parse(&header).map(|header| field(&header, "__metadata__"));
    let config = metadata.map(|metadata| field(&metadata, ADAPTER_CONFIG).as_string());
    let config = config.ok().flatten();
    (config.is_some() || header.to_lowercase().contains(".lora_a")).then(|| UsedAdapter {
        name: first.name().to_owned(),
        base: base(&config.unwrap_or_default()),
        source: AdapterSource::Files(vec![Handle(first.file.clone())]),
    })
}

impl Shell {
    /// What was dropped or chosen goes where its kind belongs.
    pub fn take(self, picked: Picked) {
        spawn_local(self.sort(picked));
    }

    async fn sort(self, mut picked: Picked) {
        if picked.files.is_empty() {
            if let Some(folder) = picked.folder {
                let told = format!("{folder} is empty.");
                let steps = [Step::ChooseFile];
                self.page.offer("There is nothing to read", told, steps);
            }
            return;
        }
        let mut model = picked
            .outermost(|found| found.ends(&[".1bit"]))
            .map(|found| found.file.clone());
        let adapter = adapter(&picked).await;
        let mut published = picked
            .outermost(|found| found.ends(&PUBLISHED))
            .or_else(|| {
                let of_a_model = |found: &Found| found.is(&OF_A_MODEL);
                let folder = picked.folder.is_some() || picked.files.len() > 1;
                picked.outermost(of_a_model).filter(|_| folder)
            });
        let alone = picked.files.len() == 1;
        if alone || model.is_none() && adapter.is_none() && published.is_none() {
            // What is called anything may be a model all the same.
            let known = |found: &&Found| !alone && found.ends(&TEXTS);
            let unknown = picked.files.iter().filter(|found| !known(found));
            for found in unknown.take(MOST_UNKNOWN) {
                let start = begins(&found.file, 0, ONE_BIT.len() as u64).await;
                if start.starts_with(GGUF) {
                    (model, published) = (None, Some(found));
                } else if start == ONE_BIT {
                    model = Some(found.file.clone());
                } else {
                    continue;
                }
                break;
            }
        }
        if model.is_some() || adapter.is_some() {
            self.page.panel_open.set(false);
            if let Some(model) = model {
                self.models.load(Source::File(model));
            }
            if let Some(adapter) = adapter {
                self.models.use_adapters(vec![adapter]);
            }
            return;
        }
        if let Some(first) = published {
            let name = match (first.folder(), &picked.folder) {
                ("", Some(folder)) => folder.clone(),
                ("", None) => stem(first.name()),
                (folder, _) => folder.rsplit('/').next().unwrap_or(folder).to_owned(),
            };
            let files = picked.beside(first);
            let files = files.map(|found| Handle(found.file.clone())).collect();
            return self.models.import(Files {
                name,
                title: None,
                files,
                remote: Vec::new(),
                repository: None,
            });
        }
        if picked.folder.is_some() {
            return self.learn_folder(picked.files).await;
        }
        if picked.files.len() > 1 {
            return self.tuner.learn(picked.files, Vec::new());
        }
        let Some(only) = picked.files.pop() else {
            return;
        };
        if only.ends(&[".json"]) {
            self.take_json(only).await;
        } else if only.ends(&TEXTS) || holds_texts(&only.file).await {
            self.tuner.learn(vec![only], Vec::new());
        } else {
            self.page.panel_open.set(false);
            self.models.load(Source::File(only.file));
        }
    }

    /// Learns from a folder's texts, which are told by their names.
    async fn learn_folder(self, files: Vec<Found>) {
        let (mut texts, mut others) = (Vec::new(), Vec::new());
        for found in files {
            let is_text = match found.ends(&[".json"]) {
                // Other JSON configures something.
                true => is_list(&found.file).await,
                false => found.ends(&TEXTS),
            };
            if is_text {
                texts.push(found);
            } else {
                others.push(found.path);
            }
        }
        if texts.is_empty() {
            return self.page.offer(
                "There is nothing to read",
                format!(
                    "Neither a model nor a text is in the folder, only {}.",
                    others[..others.len().min(6)].join(", ")
                ),
                [Step::ChooseFile],
            );
        }
        self.tuner.learn(texts, others);
    }

    /// Conversations, texts, or a bit-map.
    async fn take_json(self, found: Found) {
        if is_list(&found.file).await {
            return self.tuner.learn(vec![found], Vec::new());
        }
        match text(&found.file).await {
            Ok(text) if is_export(&text) => {
                self.show(Tab::Chat);
                self.chat.import_chats(found.name(), &text);
            }
            Ok(text) if is_data_set(&text) => self.tuner.learn(vec![found], Vec::new()),
            // What can't be read is told there.
            _ => {
                self.show(Tab::Map);
                self.explorer.import_map_file(found.file);
            }
        }
    }
}

/// Whether a JSON file holds a list, in any encoding.
async fn is_list(file: &File) -> bool {
    let start = begins(file, 0, JSON_BEGINS as u64).await;
    let is_mark = |byte: &u8| matches!(byte, 0 | 0xef | 0xbb | 0xbf | 0xfe | 0xff);
    let mut bytes = start.iter().filter(|byte| !is_mark(byte));
    bytes.find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// Whether JSON is an object with a list of documents in it, as data sets come with their version.
fn is_data_set(json: &str) -> bool {
    let Ok(object) = JSON::parse(json).and_then(|value| value.dyn_into::<Object>()) else {
        return false;
    };
    let of_a_map = |name| !field(&object, name).is_undefined();
    let of_objects = |value: JsValue| {
        let first = value.dyn_into::<Array>().map(|list| list.get(0));
        first.is_ok_and(|first| first.is_object() && !Array::is_array(&first))
    };
    !["layer_modes", "layer_bit_map"].into_iter().any(of_a_map)
        && Object::values(&object).iter().any(of_objects)
}

/// Of a file of no known ending: whether it is a text, or a data set.
async fn holds_texts(file: &File) -> bool {
    let start = begins(file, 0, JSON_BEGINS as u64).await;
    if start.starts_with(PARQUET) {
        return true;
    }
    let marked = start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]);
    let utf8 = match std::str::from_utf8(&start) {
        Ok(_) => true,
        // Half a character at the end.
        Err(problem) => problem.error_len().is_none(),
    };
    !start.is_empty() && (marked || utf8 && !start.contains(&0))
}

/// The name of a file without what says its kind.
fn stem(name: &str) -> String {
    let stem = name
        .split_once(".safetensors")
        .or_else(|| name.rsplit_once('.'));
    stem.map_or(name, |(stem, _)| stem).to_owned()
}
