//! `onebit export --format hf|gguf`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use ternary::export::{GgufOptions, HfOptions, write_gguf, write_hf};
use ternary::format::FileSink;
use ternary::format::{ByteSource, OneBit};

use crate::args::{Export, ExportFormat, GgufType, PackMode};
use crate::output::{self, errln, outln};
use crate::{model, progress};

pub fn run(a: &Export, format: ExportFormat) -> Result<()> {
    ensure!(!a.emit_c_header, "--emit-c-header is for --format 1bit");
    let given = [&a.name, &a.description, &a.license];
    ensure!(
        given.iter().all(|text| text.is_none()),
        "--name, --description and --license are for --format 1bit; other formats take them from the model"
    );
    let source = model::source(&a.model_dir, a.bit_map.as_deref())?;
    let file = pollster::block_on(OneBit::open(source.as_ref()))
        .with_context(|| a.model_dir.display().to_string())?;
    let report = match format {
        ExportFormat::Gguf => gguf(a, &file, source.as_ref()),
        ExportFormat::Hf | ExportFormat::OneBit => hf(a, &file, source.as_ref()),
    }
    .with_context(|| format!("cannot export {}", a.model_dir.display()))?;
    if a.json {
        outln!("{report}");
    }
    Ok(())
}

fn gguf(a: &Export, file: &OneBit, source: &dyn ByteSource) -> Result<Value> {
    ensure!(
        a.pack_mode.is_none(),
        "--pack-mode is not for GGUF files; --gguf-type chooses how ternary matrices are stored"
    );
    let options = GgufOptions {
        base3: a.gguf_type == Some(GgufType::Tq1_0),
    };
    let report = to_file(&a.output, |sink, tell| {
        Ok(pollster::block_on(write_gguf(
            file, source, options, sink, tell,
        ))?)
    })?;
    for (tensor, kind) in &report.others {
        errln!("{tensor} is stored as {kind}: its rows or scales fit no ternary block");
    }
    for note in &report.notes {
        errln!("warning: {note}");
    }
    errln!(
        "{}: {:.2} MB, architecture {}",
        a.output.display(),
        report.bytes as f64 / 1e6,
        report.architecture
    );
    if report.architecture == "bitnet-b1.58" {
        errln!("warning: relu² with sub-norms is known to bitnet.cpp, not to every llama.cpp");
    }
    Ok(json!({
        "file": output::name(&a.output),
        "bytes": report.bytes,
        "architecture": report.architecture,
        "stored_otherwise": report.others,
        "warnings": report.notes,
    }))
}

fn hf(a: &Export, file: &OneBit, source: &dyn ByteSource) -> Result<Value> {
    let options = HfOptions {
        dense: matches!(a.pack_mode, Some(PackMode::Dense)),
    };
    ensure!(
        !matches!(a.pack_mode, Some(PackMode::Base3)),
        "--pack-mode base3 is for --format 1bit"
    );
    ensure!(
        !a.output.exists() || a.output.is_dir(),
        "--output {} is a file; --format hf writes a folder",
        a.output.display()
    );
    let made = !a.output.exists();
    std::fs::create_dir_all(&a.output)
        .with_context(|| format!("cannot create {}", a.output.display()))?;
    write_folder(a, file, source, options).inspect_err(|_| {
        // What is not complete is of no use. A folder that was there is left as it was.
        if made {
            let _ = std::fs::remove_dir_all(&a.output);
        }
    })
}

fn write_folder(
    a: &Export,
    file: &OneBit,
    source: &dyn ByteSource,
    options: HfOptions,
) -> Result<Value> {
    let report = to_file(&a.output.join("model.safetensors"), |sink, tell| {
        Ok(pollster::block_on(write_hf(
            file, source, options, sink, tell,
        ))?)
    })?;
    for (name, text) in &report.files {
        let path = a.output.join(name);
        output::replace(&path, |draft| {
            std::fs::write(draft, text).with_context(|| format!("cannot write {}", draft.display()))
        })?;
    }
    errln!(
        "{}: {:.2} MB",
        a.output.display(),
        report.bytes as f64 / 1e6
    );
    Ok(json!({"folder": output::name(&a.output), "bytes": report.bytes}))
}

/// Write a file through `write`, which tells how far it is.
fn to_file<T>(
    path: &Path,
    write: impl FnOnce(&mut FileSink, &mut dyn FnMut(u64, u64)) -> Result<T>,
) -> Result<T> {
    output::replace(path, |draft| {
        let mut sink = FileSink::create(draft)?;
        let bar = progress::bar(
            0,
            "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
        );
        let written = write(&mut sink, &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let written = written?;
        sink.sync()?;
        Ok(written)
    })
}
