//! `onebit import`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use ternary_core::import::{Input, Options, Report, import};
use ternary_core::platform::{FileSink, FileSource, cache_folder};

use crate::args::{Activations, Import};
use crate::download::{Hub, NotFound};
use crate::output::{self, errln, outln};
use crate::progress;

const INDEX: &str = "model.safetensors.index.json";
/// Files beside the weights; only the first is needed.
const COMPANIONS: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
];
/// Names that an import may want to read.
const ENDINGS: [&str; 4] = ["json", "safetensors", "gguf", "jinja"];

pub fn run(a: &Import) -> Result<()> {
    let input = match a.input.strip_prefix("hf:") {
        Some(repo) => local(&download(a, repo)?)?,
        None => local(Path::new(&a.input))?,
    };
    let options = options(a)?;
    let report = output::replace(&a.output, |draft| write(&input, &options, draft))
        .with_context(|| format!("cannot import {}", a.input))?;
    for warning in &report.warnings {
        errln!("warning: {warning}");
    }
    let config = &report.config;
    errln!(
        "{}: {:.2} MB, {} with {} layers, hidden {}, vocabulary {}, context {}",
        a.output.display(),
        report.bytes as f64 / 1e6,
        report.architecture,
        config.num_layers,
        config.hidden_size,
        config.vocab_size,
        config.max_seq_len
    );
    if a.json {
        outln!(
            "{}",
            json!({
                "file": a.output,
                "bytes": report.bytes,
                "architecture": report.architecture,
                "parameters": config.parameter_count(),
                "config": config,
                "warnings": report.warnings,
            })
        );
    }
    Ok(())
}

fn write(input: &Input, options: &Options, draft: &Path) -> Result<Report> {
    let mut sink = FileSink::create(draft)?;
    let bar = progress::bar(
        0,
        "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left {msg}",
    );
    let report = pollster::block_on(import(input, options, &mut sink, &mut |p| {
        bar.set_length(p.total);
        bar.set_position(p.done);
        bar.set_message(p.tensor);
    }));
    bar.finish_and_clear();
    let report = report?;
    sink.sync()?;
    Ok(report)
}

fn options(a: &Import) -> Result<Options> {
    let bit_map = a.bit_map.as_ref().map(|path| {
        std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the bit-map {}", path.display()))
    });
    Ok(Options {
        head: a.head.mode(),
        body: a.body.mode(),
        bit_map: bit_map.transpose()?,
        int8_activations: a.activations.map(|a| matches!(a, Activations::Int8)),
        context: a.context,
    })
}

/// The files of a folder, of a safetensors file's folder, or one GGUF file.
fn local(path: &Path) -> Result<Input> {
    let mut input = Input::default();
    let mut add = |name: &str, path: &Path| -> Result<()> {
        input.add(name, Box::new(FileSource::open(path)?));
        Ok(())
    };
    let extension = |path: &Path| path.extension().map(|e| e.to_string_lossy().into_owned());
    if path.is_dir() {
        let entries =
            std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in entries {
            let path = entry?.path();
            if extension(&path).is_some_and(|e| ENDINGS.contains(&e.as_str())) && path.is_file() {
                add(
                    &path.file_name().unwrap_or_default().to_string_lossy(),
                    &path,
                )?;
            }
        }
        return Ok(input);
    }
    match extension(path).as_deref() {
        Some("gguf") => add("model.gguf", path)?,
        Some("safetensors") => {
            add("model.safetensors", path)?;
            let folder = path.parent().unwrap_or(Path::new(""));
            for name in COMPANIONS {
                let path = folder.join(name);
                if path.is_file() {
                    add(name, &path)?;
                }
            }
        }
        _ => bail!(
            "{}: --input takes a folder, a .safetensors or .gguf file, or hf:OWNER/NAME",
            path.display()
        ),
    }
    Ok(input)
}

/// Fetch the files of `OWNER/NAME`, or the one of `OWNER/NAME/PATH.gguf`; returns what is to be imported.
fn download(a: &Import, repo: &str) -> Result<PathBuf> {
    let parts: Vec<&str> = repo.splitn(3, '/').collect();
    let (owner, name, file) = match parts.as_slice() {
        [owner, name] => (owner, name, None),
        [owner, name, file] => (owner, name, Some(*file)),
        _ => bail!("hf:{repo}: expected hf:OWNER/NAME or hf:OWNER/NAME/FILE.gguf"),
    };
    let hub = Hub::new(&a.endpoint, a.retry_pause)?;
    let dir = match (&a.download_dir, cache_folder()) {
        (Some(dir), _) => dir.clone(),
        (None, Some(cache)) => cache.join("hub").join(format!("{owner}--{name}")),
        (None, None) => bail!("there is no cache folder; name one with --download-dir"),
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let repo = format!("{owner}/{name}");
    let fetch = |path: &str| -> Result<PathBuf> {
        let local = path.rsplit('/').next().unwrap_or(path);
        ensure!(
            !local.is_empty() && !path.split(['/', '\\']).any(|part| part == ".."),
            "`{path}` is no file of a repository"
        );
        let target = dir.join(local);
        hub.fetch(&repo, &a.revision, path, &target)?;
        Ok(target)
    };
    if let Some(file) = file {
        return fetch(file);
    }
    // Whether the repository has the file.
    let optional = |path: &str| match fetch(path) {
        Err(e) if e.is::<NotFound>() => Ok(false),
        other => other.map(|_| true),
    };
    fetch(COMPANIONS[0])?;
    for name in &COMPANIONS[1..] {
        optional(name)?;
    }
    if optional(INDEX)? {
        let index: Value = serde_json::from_slice(&std::fs::read(dir.join(INDEX))?)
            .with_context(|| format!("{INDEX} of {repo}"))?;
        let map = index["weight_map"].as_object();
        let shards: BTreeSet<&str> = map
            .into_iter()
            .flat_map(|map| map.values().filter_map(Value::as_str))
            .collect();
        for shard in shards {
            fetch(shard)?;
        }
    } else {
        fetch("model.safetensors")?;
    }
    Ok(dir)
}
