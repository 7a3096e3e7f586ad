//! `onebit export`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use ternary::board::Cache;
use ternary::format::c_header::{self, COptions, Sizes};
use ternary::format::{Dense, MemorySource, OneBit, Packing, TensorRows};
use ternary::tokenizer::Tokenizer;
use ternary::train::checkpoint;
use ternary::words::counted;

use crate::args::{BoardCache, Export, ExportFormat, PackMode};
use crate::commands::export_other;
use crate::model;
use crate::output::{self, errln, outln};

pub fn run(a: &Export) -> Result<()> {
    let ends_in = |ending: &str| {
        let own = a.output.extension();
        own.is_some_and(|own| own.eq_ignore_ascii_case(ending))
    };
    let format = a.format.unwrap_or(match ends_in("gguf") {
        true => ExportFormat::Gguf,
        false => ExportFormat::OneBit,
    });
    ensure!(
        a.gguf_type.is_none() || format == ExportFormat::Gguf,
        "--gguf-type is for --format gguf"
    );
    ensure!(
        !ends_in("h"),
        "{}: a C header is written beside a .1bit file; give --output {} --emit-c-header",
        a.output.display(),
        a.output.with_extension("1bit").display()
    );
    match format {
        ExportFormat::Hf => {
            output::check_folder(&a.output, &a.model_dir)?;
            output::check_is_folder("--output", &a.output, ", or another --format")?;
        }
        ExportFormat::Gguf => output::check_kind("--output", &a.output, "gguf")?,
        ExportFormat::OneBit => output::check_kind("--output", &a.output, "1bit")?,
    }
    if format != ExportFormat::Hf {
        output::check(&a.output, &[&a.model_dir])?;
    }
    if format != ExportFormat::OneBit {
        return export_other::run(a, format);
    }
    let is_file = a.model_dir.is_file() && !checkpoint::is_checkpoint_path(&a.model_dir);
    let bytes = if is_file && a.bit_map.is_none() {
        packed(a)?
    } else {
        encode(a)?
    };
    // The checkpoint that a run stands for.
    let from = match is_file {
        true => a.model_dir.clone(),
        false => checkpoint::resolve(&a.model_dir)?,
    };
    // The header first: where it cannot be made, nothing is written.
    let header = a.emit_c_header.then(|| header(a, &bytes)).transpose()?;
    write(&a.output, &bytes)?;
    errln!(
        "{}: {:.2} MB from {}",
        a.output.display(),
        bytes.len() as f64 / 1e6,
        from.display()
    );
    let path = a.output.with_extension("h");
    let mut sizes: Option<Sizes> = None;
    if let Some(header) = header {
        write(&path, header.text.as_bytes())?;
        let s = sizes.insert(header.sizes);
        errln!(
            "{}: flash {:.1} KB; RAM {:.1} KB, of which {:.1} KB KV cache for {}",
            path.display(),
            s.flash_bytes as f64 / 1e3,
            s.ram_bytes as f64 / 1e3,
            s.cache_bytes as f64 / 1e3,
            counted(s.context, "token")
        );
    }
    if a.json {
        let c_header = sizes.map(|s| json!({"file": output::name(&path), "sizes": s}));
        outln!(
            "{}",
            json!({"file": output::name(&a.output), "bytes": bytes.len(), "c_header": c_header})
        );
    }
    Ok(())
}

/// A checkpoint, quantized, or either in another bit-map.
fn encode(a: &Export) -> Result<Vec<u8>> {
    let mut opened = model::parameters(&a.model_dir)?;
    if let Some(path) = &a.bit_map {
        opened.remap(path)?;
    }
    let metadata = &mut opened.metadata;
    for (field, given) in [
        (&mut metadata.name, &a.name),
        (&mut metadata.description, &a.description),
        (&mut metadata.license, &a.license),
    ] {
        if let Some(text) = given {
            field.clone_from(text);
        }
    }
    let (packing, dense) = match a.pack_mode.unwrap_or(PackMode::Ternary) {
        PackMode::Ternary => (Packing::Ternary2, Dense::No),
        PackMode::Base3 => (Packing::Base3, Dense::No),
        PackMode::Dense => (Packing::Ternary2, Dense::Yes),
    };
    opened.encode(&a.model_dir, packing, dense)
}

/// A `.1bit`, as it is, once all of it was found whole.
fn packed(a: &Export) -> Result<Vec<u8>> {
    let described = [&a.name, &a.description, &a.license];
    ensure!(
        a.pack_mode.is_none() && described.iter().all(|t| t.is_none()),
        "{} is a .1bit file and stays as it is; --pack-mode, --name, --description and --license are for checkpoint folders",
        a.model_dir.display()
    );
    let source = model::source(&a.model_dir, None)?;
    let check = async {
        let file = OneBit::open(source.as_ref()).await?;
        for tensor in &file.tensors {
            let mut rows = |_: TensorRows| Ok(());
            file.read_tensor(source.as_ref(), tensor, &mut rows).await?;
        }
        Ok::<_, ternary::format::FormatError>(())
    };
    pollster::block_on(check).with_context(|| a.model_dir.display().to_string())?;
    std::fs::read(&a.model_dir).with_context(|| format!("cannot read {}", a.model_dir.display()))
}

fn header(a: &Export, bytes: &[u8]) -> Result<c_header::CHeader> {
    let source = MemorySource::new(&a.model_dir.display().to_string(), bytes.to_vec());
    let file = pollster::block_on(OneBit::open(&source))
        .with_context(|| a.model_dir.display().to_string())?;
    let tokenizer = file.metadata.tokenizer.as_deref();
    let tokenizer = tokenizer.map(Tokenizer::from_json).transpose()?;
    let stem = a.output.file_stem().context("--output names no file")?;
    let options = COptions {
        stem: stem.to_string_lossy().into_owned(),
        context: a.c_context,
        cache: match a.c_kv {
            Some(BoardCache::F16) => Cache::F16,
            Some(BoardCache::F32) | None => Cache::F32,
        },
        prompt: a
            .c_prompt
            .as_deref()
            .unwrap_or("Once upon a time")
            .to_owned(),
    };
    c_header::write(bytes, tokenizer.as_ref(), &options)
        .with_context(|| format!("cannot make a C header of {}", a.model_dir.display()))
}

pub fn write(output: &Path, bytes: &[u8]) -> Result<()> {
    output::replace(output, |draft| {
        std::fs::write(draft, bytes).with_context(|| format!("cannot write {}", draft.display()))
    })
}
