//! Parquet files on a disk.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::{Map, Value};

use super::{Limit, document_columns, read, unreadable};
use crate::error::{IoContext, Result};

/// Bytes of text that a file may unpack to, for each of its own. Texts shrink to a third or a
/// tenth; a file in which one long text is repeated from a dictionary is made to fill the disk.
const MOST_TEXT: u64 = 200;
/// Of small files more.
const LEAST_LIMIT: u64 = 64 << 20;

/// Hands out every row of the file at `path`, which messages call `name`, as an object of those of
/// `columns` that it has; returns the number of rows.
///
/// # Errors
/// A damaged file, one with none of the columns, one that unpacks to much more than its size, and
/// what `sink` says.
pub fn rows(
    path: &Path,
    name: &str,
    columns: &[&str],
    sink: &mut dyn FnMut(Map<String, Value>) -> Result<()>,
) -> Result<u64> {
    let file = File::open(path).at("open", path)?;
    let most = MOST_TEXT.saturating_mul(file.metadata().at("read", path)?.len());
    let limit = Limit {
        bytes: LEAST_LIMIT.max(most),
        beyond: "far more than its size: it is damaged, or made to fill a disk",
    };
    let twice = [file.try_clone().at("open", path)?, file];
    // The library panics on some damaged files.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let read = catch_unwind(AssertUnwindSafe(|| read(twice, name, columns, limit, sink)));
    std::panic::set_hook(hook);
    read.unwrap_or_else(|_| Err(unreadable(name, "it is damaged")))
}

/// The documents of the file at `path`, which messages call `name`, as JSON lines, in a file that
/// is deleted with the answer.
///
/// # Errors
/// As for [`rows`], and a disk that is full.
pub(in crate::data) fn as_lines(path: &Path, name: &str) -> Result<tempfile::TempPath> {
    let kept = tempfile::NamedTempFile::new().at("make a temporary file for", path)?;
    let mut out = BufWriter::new(kept);
    rows(path, name, &document_columns(), &mut |row| {
        Ok(writeln!(out, "{}", Value::Object(row)).at("unpack", path)?)
    })?;
    let kept = out
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error);
    Ok(kept.at("unpack", path)?.into_temp_path())
}
