//! The `text` column of a Parquet file (how hubs keep data sets) as plain text or as JSON lines.

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Result, anyhow};
use serde_json::Value;
use ternary::data::parquet;
use ternary::platform::Draft;

/// How rows are written.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// One after another; `blank` in place of empty ones.
    Text { blank: &'a str },
    /// Each an object with a `text` field on a line of its own.
    Documents,
}

/// Write the texts of `source` to `target`; returns the number of rows.
///
/// # Errors
/// A damaged file, one without texts, and one that unpacks to much more than its size. Nothing is
/// left then.
pub fn convert(source: &Path, target: &Path, rows: Rows) -> Result<u64> {
    let (draft, file) = Draft::beside(target)?;
    let mut out = BufWriter::new(file);
    let mut failure = None;
    let count = parquet::rows(
        source,
        &source.display().to_string(),
        &["text"],
        &mut |row| {
            if failure.is_none() {
                failure = write(&mut out, row.get("text"), rows).err();
            }
            Ok(())
        },
    )?;
    if let Some(failure) = failure {
        return Err(failure.context(source.display().to_string()));
    }
    out.into_inner()
        .map_err(std::io::IntoInnerError::into_error)?
        .sync_all()?;
    draft.finish()?;
    Ok(count)
}

fn write(out: &mut impl Write, text: Option<&Value>, rows: Rows) -> Result<()> {
    let text = match text {
        Some(Value::String(text)) => text.as_str(),
        Some(Value::Null) | None => "",
        Some(_) => return Err(anyhow!("the `text` column does not hold text")),
    };
    match rows {
        Rows::Text { blank } if text.is_empty() => out.write_all(blank.as_bytes())?,
        Rows::Text { .. } => out.write_all(text.as_bytes())?,
        Rows::Documents => writeln!(out, "{}", serde_json::json!({ "text": text }))?,
    }
    Ok(())
}
