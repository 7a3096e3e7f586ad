//! `onebit import`.

mod measure;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use ternary::config::{LayerMode, QuantMode};
use ternary::format::{FileKind, KIND_BYTES, escaped, without_bom};
use ternary::format::{FileSink, FileSource};
use ternary::hub::{COMPANIONS, Choice, INDEX, choose, part_of, parts_of};
use ternary::import::{Input, Options, Progress, Report, import};
use ternary::platform::cache_folder;
use ternary::words::counted;

use crate::args::{Activations, Head, Import};
use crate::commands::download::{Hub, NotFound, in_folder};
use crate::output::{self, errln, outln};
use crate::{model, progress};

/// Names that an import may want to read.
const ENDINGS: [&str; 4] = ["json", "safetensors", "gguf", "jinja"];

pub fn run(a: &Import) -> Result<()> {
    output::check(&a.output, &[])?;
    output::check_kind("--output", &a.output, "1bit")?;
    let options = options(a)?;
    let (input, choice) = match a.input.to_str().and_then(|input| input.strip_prefix("hf:")) {
        Some(repo) => {
            let (path, choice) = download(a, repo)?;
            (local(&path)?, choice)
        }
        None => {
            refuse_flags_of_the_hub(a)?;
            (local(&a.input)?, None)
        }
    };
    output::check(&a.output, &[&a.input])?;
    let report = output::replace(&a.output, |draft| write(&input, &options, draft))
        .with_context(|| format!("cannot import {}", a.input.display()))?;
    for warning in &report.warnings {
        errln!("warning: {}", escaped(warning));
    }
    let config = &report.config;
    errln!(
        "{}: {:.2} MB from {:.2} MB, {} with {}, hidden {}, vocabulary {}, context {}",
        a.output.display(),
        report.bytes as f64 / 1e6,
        report.source_bytes as f64 / 1e6,
        report.architecture,
        counted(config.num_layers, "layer"),
        config.hidden_size,
        config.vocab_size,
        config.max_seq_len
    );
    let layers = config.bit_map().layer_modes;
    let eightbit = LayerMode::Whole(QuantMode::EightBit);
    if a.body.is_none() && a.bit_map.is_none() && layers.iter().all(|mode| *mode == eightbit) {
        errln!(
            "the layers' matrices are 8-bit now, half of F16 and faster; --body f16 keeps 16 bits{}",
            match a.measure {
                Some(_) => "",
                None => ", and --measure TEXT says what that costs",
            }
        );
    }
    let cost = a.measure.as_deref();
    let cost = cost.map(|text| measure::measure(&input, &options, &a.output, text));
    let cost = cost.transpose()?;
    if let Some(cost) = &cost {
        errln!("{}", measure::sentence(cost));
    }
    if a.json {
        outln!(
            "{}",
            json!({
                "file": output::name(&a.output),
                "bytes": report.bytes,
                "source_bytes": report.source_bytes,
                "architecture": report.architecture,
                "parameters": config.parameter_count(),
                "config": output::json(config)?,
                "warnings": report.warnings,
                "measured": output::snake_case(output::json(&cost)?),
                "chosen": choice.map(|choice| json!({
                    "file": choice.gguf,
                    "why": choice.why,
                })),
            })
        );
    }
    Ok(())
}

/// Of files that are here nothing is fetched. `--endpoint` may come of the environment.
fn refuse_flags_of_the_hub(a: &Import) -> Result<()> {
    for (flag, given) in [
        ("revision", a.revision.is_some()),
        ("download-dir", a.download_dir.is_some()),
        ("retry-pause", a.retry_pause.is_some()),
    ] {
        ensure!(
            !given,
            "--{flag} is for a repository of the hub, and {} is a path here: leave the option out, or give --input hf:OWNER/NAME",
            a.input.display()
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
    let report = pollster::block_on(import(input, options, &mut sink, &mut |p: Progress| {
        bar.set_length(p.total);
        bar.set_position(p.done);
        bar.set_message(output::printable(&p.tensor));
    }));
    bar.finish_and_clear();
    // Its words may come from the file.
    let report = report.map_err(|e| anyhow::anyhow!(escaped(&e.to_string())))?;
    sink.sync()?;
    Ok(report)
}

fn options(a: &Import) -> Result<Options> {
    let bit_map = a
        .bit_map
        .as_ref()
        .map(|path| model::read_small(path, "the bit-map"));
    let found = Options::default();
    Ok(Options {
        head: a.head.mode().unwrap_or(found.head),
        keep_head: a.head.mode().is_none(),
        body: a.body.map(Head::mode),
        bit_map: bit_map.transpose()?,
        int8_activations: a.activations.map(|a| matches!(a, Activations::Int8)),
        context: a.context,
        pre_tokenizer: a.pre_tokenizer.clone(),
        name: a.name.clone(),
        ignored_keys: a.ignore_key.clone(),
    })
}

/// What a file is, whatever it is called.
pub fn kind(path: &Path) -> Result<FileKind> {
    let mut first = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    file.take(KIND_BYTES as u64)
        .read_to_end(&mut first)
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(FileKind::of(&first))
}

/// The files of a folder, of a safetensors file's folder, or a GGUF file with the parts it was
/// split into.
pub fn local(path: &Path) -> Result<Input> {
    let mut input = Input::default();
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    if path.is_dir() {
        return folder(path);
    }
    let mut add = |name: &str, path: &Path| -> Result<()> {
        input.add(name, Box::new(FileSource::open(path)?));
        Ok(())
    };
    let usage = || {
        format!(
            "{}: --input takes a folder, a .safetensors or .gguf file, or hf:OWNER/NAME",
            path.display()
        )
    };
    ensure!(
        path.exists(),
        "{} does not exist; --input takes a folder, a .safetensors or .gguf file, or hf:OWNER/NAME",
        path.display()
    );
    ensure!(
        path.is_file(),
        "{} is no file on a disk: an import reads in several places; save what comes through a pipe first",
        path.display()
    );
    let beside = path.parent().unwrap_or(Path::new(""));
    let own = name(path);
    let called = |end: &str| own.to_lowercase().ends_with(end);
    match kind(path)? {
        FileKind::Gguf => {
            for part in parts_of(&own) {
                let path = if part == own {
                    path.to_owned()
                } else {
                    beside.join(&part)
                };
                // What is missing is told by what is there.
                if path.is_file() {
                    let part = part.strip_suffix(".gguf").unwrap_or(&part);
                    add(&format!("{part}.gguf"), &path)?;
                }
            }
        }
        FileKind::Safetensors => {
            let part = part_of(&own).is_some_and(|(.., of, _)| of > 1);
            if part || own.starts_with("adapter_") {
                return folder(beside_or_here(beside));
            }
            add("model.safetensors", path)?;
            for name in COMPANIONS {
                let path = beside.join(name);
                if path.is_file() {
                    add(name, &path)?;
                }
            }
        }
        FileKind::Other if called(".gguf") || called(".safetensors") => bail!(
            "{}: neither a GGUF nor a safetensors file by its first bytes; a broken download?",
            path.display()
        ),
        other => match other.described() {
            Some(what) => bail!("{} is {what}", path.display()),
            None => bail!(usage()),
        },
    }
    Ok(input)
}

/// The current folder has no name.
fn beside_or_here(folder: &Path) -> &Path {
    match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    }
}

fn folder(path: &Path) -> Result<Input> {
    let mut input = Input::default();
    let mut others = Vec::new();
    let entries =
        std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let extension = name.rsplit_once('.').map(|(_, e)| e.to_lowercase());
        let known = extension.is_some_and(|e| ENDINGS.contains(&e.as_str()));
        if !path.is_file() {
            continue;
        }
        if known {
            input.add(&name, Box::new(FileSource::open(&path)?));
        } else {
            others.push((name, path));
        }
    }
    // Models that are called otherwise, as in some programs' stores.
    if input.is_empty() {
        for (name, path) in others {
            let ending = match kind(&path) {
                Ok(FileKind::Gguf) => "gguf",
                Ok(FileKind::Safetensors) => "safetensors",
                _ => continue,
            };
            input.add(
                &format!("{name}.{ending}"),
                Box::new(FileSource::open(&path)?),
            );
        }
    }
    Ok(input)
}

/// Whether a name stands for a file in a folder, on every system, and for none that programs read
/// unasked.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= 200
        && !name.contains(|c: char| c.is_control() || "/\\:*?\"<>|".contains(c))
        && !name.ends_with(['.', ' '])
}

fn revision(a: &Import) -> &str {
    a.revision.as_deref().unwrap_or("main")
}

/// Fetch the files of `OWNER/NAME`, or the one of `OWNER/NAME/PATH.gguf`; returns what is to be
/// imported, and what was chosen of several.
fn download(a: &Import, repo: &str) -> Result<(PathBuf, Option<Choice>)> {
    let parts: Vec<&str> = repo.splitn(3, '/').collect();
    let (owner, name, file) = match parts.as_slice() {
        [owner, name] => (owner, name, None),
        [owner, name, file] => (owner, name, Some(*file)),
        _ => bail!("hf:{repo}: expected hf:OWNER/NAME or hf:OWNER/NAME/FILE.gguf"),
    };
    for part in [owner, name] {
        ensure!(
            part.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                && !part.starts_with('.'),
            "hf:{repo}: `{part}` is no name of the hub's; expected hf:OWNER/NAME or hf:OWNER/NAME/FILE.gguf"
        );
    }
    let hub = Hub::new(&a.endpoint, a.retry_pause.unwrap_or(1000))?;
    let dir = match (&a.download_dir, cache_folder()) {
        (Some(dir), _) => dir.clone(),
        (None, Some(cache)) => cache.join("hub").join(format!("{owner}--{name}")),
        (None, None) => bail!("there is no cache folder; name one with --download-dir"),
    };
    let repo = format!("{owner}/{name}");
    in_folder(&dir, || {
        if file.is_some() {
            return Ok((fetch_all(a, &hub, (&repo, file), &dir)?, None));
        }
        // A mirror may have files only, and no list of them.
        let choice = match hub.files(&repo, revision(a))? {
            Some(files) => Some(choose(&repo, &files)?),
            None => None,
        };
        if let Some(choice) = &choice {
            let what = choice.gguf.as_deref().unwrap_or("safetensors");
            errln!("taking {}: {}", escaped(what), choice.why);
        }
        let file = choice.as_ref().and_then(|choice| choice.gguf.as_deref());
        Ok((fetch_all(a, &hub, (&repo, file), &dir)?, choice))
    })
}

/// Fetch one file of a repository, or those that an import may want; returns what is to be
/// imported.
fn fetch_all(
    a: &Import,
    hub: &Hub,
    (repo, file): (&str, Option<&str>),
    dir: &Path,
) -> Result<PathBuf> {
    let fetch = |path: &str| -> Result<PathBuf> {
        let local = path.rsplit('/').next().unwrap_or(path);
        ensure!(
            is_plain(local) && !path.split('/').any(|part| part == ".."),
            "`{}` is no file of a model's: it will not be fetched",
            escaped(path)
        );
        let target = dir.join(local);
        hub.fetch(repo, revision(a), path, &target)?;
        Ok(target)
    };
    if let Some(file) = file {
        let parts = parts_of(file);
        for part in &parts[1..] {
            fetch(part)?;
        }
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
        let index = std::fs::read_to_string(dir.join(INDEX))?;
        let index: Value = serde_json::from_str(without_bom(&index))
            .with_context(|| format!("{INDEX} of {repo}"))?;
        let map = index["weight_map"].as_object();
        let shards: BTreeSet<&str> = map
            .into_iter()
            .flat_map(|map| map.values().filter_map(Value::as_str))
            .collect();
        for shard in shards {
            // The index is a stranger's, and what it names is written here.
            ensure!(
                is_plain(shard) && shard.ends_with(".safetensors"),
                "{INDEX} of {repo} names {shard:?}, which is no name of a safetensors file"
            );
            fetch(shard)?;
        }
    } else {
        fetch("model.safetensors")?;
    }
    Ok(dir.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_written() {
        for name in [
            "model-00001-of-00002.safetensors",
            "model i2_s.gguf",
            "a.b.json",
        ] {
            assert!(is_plain(name), "{name}");
        }
        for name in [
            "",
            ".bashrc",
            "..",
            "C:\\a.safetensors",
            "a/b.safetensors",
            "x\0",
            "a.json.",
            "con|",
        ] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
