//! The `text` column of a Parquet file (how hubs keep data sets) as plain text or as JSON lines.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;

/// How rows are written.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// One after another; `blank` in place of empty ones.
    Text { blank: &'a str },
    /// Each an object with a `text` field on a line of its own.
    Documents,
}

/// Write the texts of `source` to `target`; returns the number of rows.
pub fn convert(source: &Path, target: &Path, rows: Rows) -> Result<u64> {
    let at = || source.display().to_string();
    let reader = SerializedFileReader::new(File::open(source)?).with_context(at)?;
    let schema = reader.metadata().file_metadata().schema();
    let Some(column) = schema.get_fields().iter().find(|f| f.name() == "text") else {
        let names: Vec<&str> = schema.get_fields().iter().map(|f| f.name()).collect();
        bail!("{} has no `text` column, but: {}", at(), names.join(", "));
    };
    let only = Type::group_type_builder(schema.name())
        .with_fields(vec![column.clone()])
        .build()?;
    let draft = target.with_extension("part");
    let mut out = BufWriter::new(File::create(&draft)?);
    let mut count = 0;
    for row in reader.get_row_iter(Some(only)).with_context(at)? {
        let row = row.with_context(at)?;
        let text = match row.get_column_iter().next() {
            Some((_, Field::Str(text))) => text.as_str(),
            Some((_, Field::Null)) => "",
            _ => bail!("{}: the `text` column does not hold text", at()),
        };
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
    std::fs::rename(&draft, target)
        .with_context(|| format!("cannot write {}", target.display()))?;
    Ok(count)
}
