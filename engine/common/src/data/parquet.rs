//! Parquet, how hubs keep data sets: the rows of some columns, as JSON.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use super::documents::FIELDS;
use crate::error::{Error, IoContext, Result};

/// Bytes of text that a file may unpack to, for each of its own. Texts shrink to a third or a
/// tenth; a file in which one long text is repeated from a dictionary is made to fill the disk.
const MOST_TEXT: u64 = 200;
/// Of small files more.
const LEAST_LIMIT: u64 = 64 << 20;

/// Hands out every row of the file at `path` as an object of those of `columns` that it has;
/// returns the number of rows.
///
/// # Errors
/// A damaged file, one with none of the columns, one that unpacks to much more than its size, and
/// what `sink` says.
pub fn rows(
    path: &Path,
    columns: &[&str],
    sink: &mut dyn FnMut(Map<String, Value>) -> Result<()>,
) -> Result<u64> {
    let name = path.display();
    // The library panics on some damaged files.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let read = catch_unwind(AssertUnwindSafe(|| read(path, columns, sink)));
    std::panic::set_hook(hook);
    read.unwrap_or_else(|_| {
        Err(Error::Data(format!(
            "{name} is damaged: it is no readable Parquet file"
        )))
    })
}

fn read(
    path: &Path,
    columns: &[&str],
    sink: &mut dyn FnMut(Map<String, Value>) -> Result<()>,
) -> Result<u64> {
    let name = path.display();
    let damaged = |e: ParquetError| Error::Data(format!("{name}: {e}"));
    let file = File::open(path).at("open", path)?;
    let size = file.metadata().at("read", path)?.len();
    let most = LEAST_LIMIT.max(MOST_TEXT.saturating_mul(size));
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema();
    let all = schema.get_fields();
    let wanted: Vec<_> = all
        .iter()
        .filter(|field| columns.contains(&field.name()))
        .cloned()
        .collect();
    if wanted.is_empty() {
        let names: Vec<&str> = all.iter().map(|field| field.name()).collect();
        return Err(Error::Data(format!(
            "{name} has none of the columns {}, but: {}",
            columns.join(", "),
            names.join(", ")
        )));
    }
    let only = Type::group_type_builder(schema.name())
        .with_fields(wanted)
        .build()
        .map_err(damaged)?;
    let (mut count, mut bytes) = (0, 0);
    for row in reader.get_row_iter(Some(only)).map_err(damaged)? {
        let row = row.map_err(damaged)?;
        for (column, field) in row.get_column_iter() {
            if let Field::Bytes(_) = field {
                return Err(Error::Data(format!(
                    "{name}: the column {column} does not hold text, but bytes"
                )));
            }
        }
        let Value::Object(object) = row.to_json_value() else {
            continue;
        };
        bytes += object.values().map(text_bytes).sum::<u64>();
        if bytes > most {
            return Err(Error::Data(format!(
                "{name} unpacks to more than {} MB, far more than its size: it is damaged, or made to fill a disk",
                most / 1_000_000
            )));
        }
        sink(object)?;
        count += 1;
    }
    Ok(count)
}

/// Bytes of the texts in a value.
fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(values) => values.iter().map(text_bytes).sum(),
        Value::Object(fields) => fields.values().map(text_bytes).sum(),
        _ => 0,
    }
}

/// The documents of the file at `path` as JSON lines, in a file that is deleted with the answer.
///
/// # Errors
/// As for [`rows`], and a disk that is full.
pub(super) fn as_lines(path: &Path) -> Result<tempfile::TempPath> {
    let kept = tempfile::NamedTempFile::new().at("make a temporary file for", path)?;
    let mut out = BufWriter::new(kept);
    rows(path, &FIELDS, &mut |row| {
        // Fields that are null are none.
        let row: Map<String, Value> = row.into_iter().filter(|(_, v)| !v.is_null()).collect();
        let line = match row.is_empty() {
            true => Value::Null,
            false => Value::Object(row),
        };
        Ok(writeln!(out, "{line}").at("unpack", path)?)
    })?;
    let kept = out
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error);
    Ok(kept.at("unpack", path)?.into_temp_path())
}
