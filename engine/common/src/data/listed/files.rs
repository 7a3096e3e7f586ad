//! Such data sets on a disk.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::{lists, only};
use crate::error::{IoContext, Result};

/// As [`super::within`], of the file at `path`, in a file that is deleted with the answer.
///
/// # Errors
/// As of [`super::within`], and files that cannot be read or written.
pub(in crate::data) fn alone(path: &Path, name: &str) -> Result<Option<tempfile::TempPath>> {
    let open = || -> Result<_> {
        let file = File::open(path).at("open", path)?;
        Ok(BufReader::with_capacity(1 << 16, file))
    };
    let lists = lists(open()?).at("read", path)?;
    let Some(list) = only(lists, name)? else {
        return Ok(None);
    };
    let mut out =
        BufWriter::new(tempfile::NamedTempFile::new().at("make a temporary file for", path)?);
    for (at, byte) in (0..list.bytes.end).zip(open()?.bytes()) {
        let byte = byte.at("read", path)?;
        let kept = list.keeps(at, byte);
        out.write_all(&[if kept { byte } else { b' ' }])
            .at("unpack", path)?;
    }
    let kept = out.into_inner().map_err(io::IntoInnerError::into_error);
    Ok(Some(kept.at("unpack", path)?.into_temp_path()))
}
