//! `onebit inspect`.

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use ternary::data::{HEADER_BYTES, TokenData};
use ternary::format::FileSource;
use ternary::format::{ByteSource, FileKind, OneBit, escaped};
use ternary::words::counted;

use crate::args::Inspect;
use crate::commands::import::kind;
use crate::output::{self, outln};

pub fn run(a: &Inspect) -> Result<()> {
    ensure!(
        !a.file.is_dir(),
        "{} is a folder; inspect takes a .1bit file, which `onebit export` makes from a checkpoint folder",
        a.file.display()
    );
    let kind = kind(&a.file)?;
    match kind {
        FileKind::Tokens => return tokens(a),
        FileKind::OneBit => {}
        other => {
            if let Some(what) = other.described() {
                bail!("{} is {what}", a.file.display());
            }
            if a.file.extension().is_some_and(|e| e == "tokens") {
                return tokens(a);
            }
        }
    }
    ensure!(
        !a.verify,
        "--verify is for .tokens files; the tensors of a .1bit are checked whenever they are read"
    );
    let source = FileSource::open(&a.file)?;
    let file =
        pollster::block_on(OneBit::open(&source)).with_context(|| a.file.display().to_string())?;
    let meta = &file.metadata;
    let size = source.len();
    if a.json {
        let tokenizer = meta.tokenizer.as_ref().map(String::len);
        outln!(
            "{}",
            serde_json::to_string_pretty(&json!({
                "file": output::name(&a.file),
                "bytes": size,
                "name": meta.name,
                "description": meta.description,
                "license": meta.license,
                "parameters": meta.config.parameter_count(),
                "config": output::json(&meta.config)?,
                "tokenizer_bytes": tokenizer,
                "chat_template": meta.chat_template,
                "training": meta.training,
                "tensors": output::json(&file.tensors)?,
            }))?
        );
        return Ok(());
    }
    let c = &meta.config;
    let name = if meta.name.is_empty() {
        "(unnamed)"
    } else {
        &meta.name
    };
    let title = format!("{}  {}", escaped(name), escaped(&meta.description));
    outln!("{}", title.trim_end());
    if !meta.license.is_empty() {
        outln!("license: {}", escaped(&meta.license));
    }
    outln!(
        "{:.2}M parameters in {:.2} MB: hidden {}, {}, {} ({} kv), FFN {}, vocabulary {}, context {}",
        c.parameter_count() as f64 / 1e6,
        size as f64 / 1e6,
        c.hidden_size,
        counted(c.num_layers, "layer"),
        counted(c.num_heads, "head"),
        c.kv_heads(),
        c.intermediate_size,
        c.vocab_size,
        c.max_seq_len
    );
    outln!(
        "F16 would take {:.2} MB: {:.2} times as much",
        2.0 * c.parameter_count() as f64 / 1e6,
        2.0 * c.parameter_count() as f64 / size as f64
    );
    for (what, present) in [
        ("tokenizer", meta.tokenizer.is_some()),
        ("chat template", meta.chat_template.is_some()),
    ] {
        outln!("{what}: {}", if present { "yes" } else { "no" });
    }
    outln!(
        "\n{:52} {:>14} {:14} {:7} {:>10}",
        "tensor",
        "shape",
        "encoding",
        "scale",
        "bytes"
    );
    for t in &file.tensors {
        let shape: Vec<String> = t.shape.iter().map(u64::to_string).collect();
        let scale = format!("{:?}", t.scale).to_lowercase();
        outln!(
            "{:52} {:>14} {:14} {:7} {:>10}",
            escaped(&t.name),
            shape.join("×"),
            t.encoding,
            scale,
            t.length
        );
    }
    Ok(())
}

/// A token file: its header, and with --verify all of it.
fn tokens(a: &Inspect) -> Result<()> {
    let data = TokenData::open(&[&a.file])?;
    if a.verify {
        data.verify()?;
    }
    let h = data.header();
    let bytes = h.count * h.width as u64 + HEADER_BYTES as u64;
    let verified = a.verify.then_some(true);
    if a.json {
        outln!(
            "{}",
            serde_json::to_string_pretty(&json!({
                "file": output::name(&a.file),
                "bytes": bytes,
                "tokens": h.count,
                "bytes_per_id": h.width,
                "vocab_size": h.vocab_size,
                "seq_len": h.seq_len,
                "checksum": format!("{:08x}", h.checksum),
                "tokenizer_checksum": format!("{:08x}", h.tokenizer),
                "verified": verified,
            }))?
        );
        return Ok(());
    }
    outln!(
        "{} of {} bytes ({:.2} MB), vocabulary {}",
        counted(h.count, "token"),
        h.width,
        bytes as f64 / 1e6,
        h.vocab_size
    );
    if h.seq_len > 0 {
        outln!("made for sequences of {}", h.seq_len);
    }
    outln!("tokenizer: checksum {:08x}", h.tokenizer);
    outln!(
        "{}",
        if a.verify {
            "verified: checksum and ids are right"
        } else {
            "not verified: --verify reads all of it"
        }
    );
    Ok(())
}
