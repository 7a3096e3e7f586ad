//! `onebit inspect`.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use ternary_core::format::{ByteSource, OneBit};
use ternary_core::platform::FileSource;

use crate::args::Inspect;
use crate::output::outln;

pub fn run(a: &Inspect) -> Result<()> {
    ensure!(
        !a.file.is_dir(),
        "{} is a folder; inspect takes a .1bit file, which `onebit export` makes from a checkpoint folder",
        a.file.display()
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
                "file": a.file,
                "bytes": size,
                "name": meta.name,
                "description": meta.description,
                "license": meta.license,
                "parameters": meta.config.parameter_count(),
                "config": meta.config,
                "tokenizer_bytes": tokenizer,
                "chat_template": meta.chat_template,
                "training": meta.training,
                "tensors": file.tensors,
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
    outln!("{name}  {}", meta.description);
    if !meta.license.is_empty() {
        outln!("licence: {}", meta.license);
    }
    outln!(
        "{:.2}M parameters in {:.2} MB: hidden {}, {} layers, {} heads ({} kv), FFN {}, vocabulary {}, context {}",
        c.parameter_count() as f64 / 1e6,
        size as f64 / 1e6,
        c.hidden_size,
        c.num_layers,
        c.num_heads,
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
            t.name,
            shape.join("×"),
            t.encoding,
            scale,
            t.length
        );
    }
    Ok(())
}
