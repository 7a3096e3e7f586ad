//! The head of a safetensors file: 8 bytes of length, then JSON: name → type, shape, place.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::source::ImportError;
use crate::source::checkpoint::{Lies, SourceTensor, read};
use crate::source::storage::Storage;
use ternary_common::bytes::ByteSource;
use ternary_core::kind::{FileKind, KIND_BYTES};

/// Largest head accepted, as in the safetensors library.
const MAX_HEAD: u64 = 100_000_000;

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub tensors: BTreeMap<String, SourceTensor>,
    /// Tensors that no parameter can be, and why: empty ones, and those of other types or shapes.
    pub odd: BTreeMap<String, String>,
    /// Names of tensors that are stored under another: alias → name.
    pub aliases: BTreeMap<String, String>,
}

/// The tensors of a file of `file_len` bytes whose JSON is `json`; `file` is the file's index.
pub(crate) fn parse(json: &[u8], file_len: u64, file: usize) -> Result<Contents, String> {
    let head: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(|e| format!("its head is no JSON: {e}"))?;
    let data = 8 + json.len() as u64;
    let mut contents = Contents::default();
    for (name, value) in head {
        if name == "__metadata__" {
            // Values that are no names of tensors are other remarks.
            let texts = value.as_object().into_iter().flatten();
            contents.aliases = texts
                .filter_map(|(alias, name)| Some((alias.clone(), name.as_str()?.to_owned())))
                .collect();
            continue;
        }
        let bad = |message: String| format!("tensor {name}: {message}");
        let entry: Entry = serde_json::from_value(value).map_err(|e| bad(e.to_string()))?;
        let [from, to] = entry.data_offsets;
        let end = data.checked_add(to).filter(|end| *end <= file_len);
        if end.is_none() || from > to {
            return Err(bad(format!(
                "it ends at byte {}; the file has {file_len}",
                data.saturating_add(to)
            )));
        }
        match usable(&entry) {
            Ok((storage, shape)) => {
                let tensor = SourceTensor {
                    name: name.clone(),
                    shape: shape.iter().map(|n| *n as usize).collect(),
                    storage,
                    file,
                    offset: data + from,
                    bytes: to - from,
                    lies: Lies::Rows,
                };
                contents.tensors.insert(name, tensor);
            }
            Err(Odd::Because(why)) => {
                contents.odd.insert(name, why);
            }
            Err(Odd::Damaged(message)) => return Err(bad(message)),
        }
    }
    Ok(contents)
}

/// Why an entry is no tensor that a model's parameter can be.
enum Odd {
    Because(String),
    Damaged(String),
}

/// What the values of an entry are, and in which shape.
fn usable(entry: &Entry) -> Result<(Storage, Vec<u64>), Odd> {
    let mut shape = entry.shape.clone();
    if shape.contains(&0) {
        return Err(Odd::Because("empty".into()));
    }
    let storage = match entry.dtype.as_str() {
        "F64" => Storage::F64,
        "F32" => Storage::F32,
        "F16" => Storage::F16,
        "BF16" => Storage::Bf16,
        "U8" => Storage::PackedRows,
        other => {
            return Err(Odd::Because(format!(
                "of type {other}; parameters can be F64, F32, F16, BF16, and U8 for packed ternary matrices"
            )));
        }
    };
    if storage == Storage::PackedRows {
        let [rows, _] = shape.as_mut_slice() else {
            return Err(Odd::Because(format!(
                "packed weights of shape {shape:?}; [rows / 4, columns] is expected"
            )));
        };
        *rows = rows.saturating_mul(4);
    }
    let (rows, cols) = match shape.as_slice() {
        [] => (1, 1),
        [n] => (1, *n),
        [rows, cols] => (*rows, *cols),
        _ => {
            return Err(Odd::Because(format!(
                "of shape {shape:?}; parameters have one or two dimensions"
            )));
        }
    };
    let [from, to] = entry.data_offsets;
    let bytes = storage.bytes(rows, cols);
    if bytes.is_none() || to.checked_sub(from) != bytes {
        return Err(Odd::Damaged(format!(
            "bytes {from} to {to} cannot hold shape {shape:?} of {}",
            entry.dtype
        )));
    }
    Ok((storage, shape))
}

pub(crate) async fn open(source: &dyn ByteSource, file: usize) -> Result<Contents, ImportError> {
    let damaged = |message: String| ImportError::Damaged {
        file: source.name(),
        message,
    };
    let len = source.len();
    let first = read(source, 0, (KIND_BYTES as u64).min(len) as usize).await?;
    let kind = FileKind::of(&first);
    if kind != FileKind::Safetensors
        && let Some(what) = kind.described()
    {
        return Err(damaged(format!("no safetensors file: it is {what}")));
    }
    let head = first
        .first_chunk()
        .map(|head| u64::from_le_bytes(*head))
        .ok_or_else(|| damaged("it is too short for a safetensors file".into()))?;
    if head > MAX_HEAD || head > len.saturating_sub(8) {
        return Err(damaged(format!(
            "its head says {head} bytes, the file has {len}: no safetensors file, or a broken download"
        )));
    }
    let json = read(source, 8, head as usize).await?;
    parse(&json, len, file).map_err(damaged)
}
