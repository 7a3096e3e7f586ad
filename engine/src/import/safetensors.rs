//! The head of a safetensors file: 8 bytes of length, then JSON: name → type, shape, place.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ImportError;
use super::checkpoint::{SourceTensor, read};
use super::storage::Storage;
use crate::format::ByteSource;

/// Largest head accepted, as in the safetensors library.
const MAX_HEAD: u64 = 100_000_000;

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The tensors of a file of `file_len` bytes whose JSON is `json`; `file` is the file's index.
pub(super) fn parse(
    json: &[u8],
    file_len: u64,
    file: usize,
) -> Result<BTreeMap<String, SourceTensor>, String> {
    let head: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(|e| format!("its head is no JSON: {e}"))?;
    let data = 8 + json.len() as u64;
    let mut tensors = BTreeMap::new();
    for (name, value) in head {
        if name == "__metadata__" {
            continue;
        }
        let bad = |message: String| format!("tensor {name}: {message}");
        let entry: Entry = serde_json::from_value(value).map_err(|e| bad(e.to_string()))?;
        let storage = match entry.dtype.as_str() {
            "F32" => Storage::F32,
            "F16" => Storage::F16,
            "BF16" => Storage::Bf16,
            "U8" => Storage::PackedRows,
            other => {
                return Err(bad(format!(
                    "its type is {other}; supported: F32, F16, BF16, and U8 of packed ternary matrices"
                )));
            }
        };
        let mut shape = entry.shape;
        if storage == Storage::PackedRows {
            let [rows, _] = shape.as_mut_slice() else {
                return Err(bad(format!(
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
                return Err(bad(format!(
                    "shape {shape:?}; supported: one or two dimensions"
                )));
            }
        };
        let [from, to] = entry.data_offsets;
        let bytes = storage.bytes(rows, cols);
        if rows == 0 || cols == 0 || bytes.is_none() || to.checked_sub(from) != bytes {
            return Err(bad(format!(
                "bytes {from} to {to} cannot hold shape {shape:?} of {}",
                entry.dtype
            )));
        }
        let end = data.checked_add(to).filter(|end| *end <= file_len);
        if end.is_none() {
            return Err(bad(format!(
                "it ends at byte {}; the file has {file_len}",
                data.saturating_add(to)
            )));
        }
        let tensor = SourceTensor {
            name: name.clone(),
            shape: shape.iter().map(|n| *n as usize).collect(),
            storage,
            file,
            offset: data + from,
            bytes: to - from,
        };
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

pub(super) async fn open(
    source: &dyn ByteSource,
    file: usize,
) -> Result<BTreeMap<String, SourceTensor>, ImportError> {
    let damaged = |message: String| ImportError::Damaged {
        file: source.name(),
        message,
    };
    let len = source.len();
    let first = read(source, 0, 8.min(len) as usize).await?;
    let head = <[u8; 8]>::try_from(first.as_slice())
        .map(u64::from_le_bytes)
        .map_err(|_| damaged("it is too short for a safetensors file".into()))?;
    if head > MAX_HEAD || head > len.saturating_sub(8) {
        return Err(damaged(format!(
            "its head says {head} bytes, the file has {len}: no safetensors file, or a broken download"
        )));
    }
    let json = read(source, 8, head as usize).await?;
    parse(&json, len, file).map_err(damaged)
}
