//! The `text` column of a Parquet file (how hubs keep data sets) as plain text or as JSON lines.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context, Result, bail};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;
use ternary::platform::Draft;

/// How rows are written.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// One after another; `blank` in place of empty ones.
    Text { blank: &'a str },
    /// Each an object with a `text` field on a line of its own.
    Documents,
}

/// Bytes of text that a file may unpack to, for each of its own. Texts shrink to a third or a
/// tenth; a file in which one long text is repeated from a dictionary is made to fill the disk.
const MOST_TEXT: u64 = 200;
/// Of small files more.
const LEAST_LIMIT: u64 = 64 << 20;

/// Write the texts of `source` to `target`; returns the number of rows.
///
/// # Errors
/// A damaged file, one without texts, and one that unpacks to much more than its size. Nothing is
/// left then.
pub fn convert(source: &Path, target: &Path, rows: Rows) -> Result<u64> {
    let (draft, file) = Draft::beside(target)?;
    // The library panics on some damaged files.
    let work = AssertUnwindSafe(|| write(source, file, rows));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(work);
    std::panic::set_hook(hook);
    let count = result.unwrap_or_else(|_| {
        bail!(
            "{} is damaged: it is no readable Parquet file",
            source.display()
        )
    })?;
    draft.finish()?;
    Ok(count)
}

fn write(source: &Path, target: File, rows: Rows) -> Result<u64> {
    let at = || source.display().to_string();
    let file = File::open(source)?;
    let most = LEAST_LIMIT.max(MOST_TEXT.saturating_mul(file.metadata()?.len()));
    let reader = SerializedFileReader::new(file).with_context(at)?;
    let schema = reader.metadata().file_metadata().schema();
    let Some(column) = schema.get_fields().iter().find(|f| f.name() == "text") else {
        let names: Vec<&str> = schema.get_fields().iter().map(|f| f.name()).collect();
        bail!("{} has no `text` column, but: {}", at(), names.join(", "));
    };
    let only = Type::group_type_builder(schema.name())
        .with_fields(vec![column.clone()])
        .build()?;
    let mut out = BufWriter::new(target);
    let (mut count, mut bytes) = (0, 0);
    for row in reader.get_row_iter(Some(only)).with_context(at)? {
        let row = row.with_context(at)?;
        let text = match row.get_column_iter().next() {
            Some((_, Field::Str(text))) => text.as_str(),
            Some((_, Field::Null)) => "",
            _ => bail!("{}: the `text` column does not hold text", at()),
        };
        bytes += text.len() as u64;
        if bytes > most {
            bail!(
                "{} unpacks to more than {} MB, far more than its size: it is damaged, or made to fill a disk",
                at(),
                most / 1_000_000
            );
        }
        match rows {
            Rows::Text { blank } if text.is_empty() => out.write_all(blank.as_bytes())?,
            Rows::Text { .. } => out.write_all(text.as_bytes())?,
            Rows::Documents => writeln!(out, "{}", serde_json::json!({ "text": text }))?,
        }
        count += 1;
    }
    out.into_inner()
        .map_err(std::io::IntoInnerError::into_error)?
        .sync_all()?;
    Ok(count)
}
