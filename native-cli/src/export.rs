//! `onebit export`.

use std::path::Path;

use anyhow::{Context, Result};
use ternary_core::format::{Dense, Metadata, Packing};
use ternary_core::train::checkpoint;

use crate::args::{Export, PackMode};
use crate::model;

pub fn run(a: &Export) -> Result<()> {
    let dir = checkpoint::resolve(&a.model_dir)?;
    let metadata = Metadata {
        name: a.name.clone(),
        description: a.description.clone(),
        license: a.license.clone(),
        ..Metadata::default()
    };
    let (packing, dense) = match a.pack_mode {
        PackMode::Ternary => (Packing::Ternary2, Dense::No),
        PackMode::Base3 => (Packing::Base3, Dense::No),
        PackMode::Dense => (Packing::Ternary2, Dense::Yes),
    };
    let bytes = model::encode_checkpoint(&dir, metadata, packing, dense)?;
    write(&a.output, &bytes)?;
    eprintln!(
        "{}: {:.2} MB from {}",
        a.output.display(),
        bytes.len() as f64 / 1e6,
        dir.display()
    );
    Ok(())
}

/// Beside the target first, so that an interruption leaves no half file under its name.
pub fn write(output: &Path, bytes: &[u8]) -> Result<()> {
    let draft = output.with_extension("1bit.part");
    std::fs::write(&draft, bytes).with_context(|| format!("cannot write {}", draft.display()))?;
    std::fs::rename(&draft, output)
        .inspect_err(|_| {
            // The rename's error is the one to tell.
            let _ = std::fs::remove_file(&draft);
        })
        .with_context(|| format!("cannot write {}", output.display()))
}
