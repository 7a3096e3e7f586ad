//! A file that claims to be a larger model than it is: enough for what is decided before a weight is read.

use anyhow::{Context, Result};
use serde_json::{Map, Value};

const HEADER: usize = 64;
const ALIGN: usize = 64;

/// `model` with other values of its configuration, all else left as it is.
pub fn claiming(model: &[u8], changes: Map<String, Value>) -> Result<Vec<u8>> {
    // Lengths of metadata and table, and where the tensors begin.
    let number = |at: usize| -> Result<usize> {
        let bytes = model.get(at..at + 8).context("no header")?;
        Ok(u64::from_le_bytes(bytes.try_into()?) as usize)
    };
    let (metadata, table, data) = (number(16)?, number(24)?, number(32)?);
    let (json, rest) = model[HEADER..data].split_at(metadata);
    let mut told: Value = serde_json::from_slice(json)?;
    let config = told["config"].as_object_mut().context("no config")?;
    config.extend(changes);
    let json = serde_json::to_vec(&told)?;

    let begins = (HEADER + json.len() + table).next_multiple_of(ALIGN);
    let mut header = model[..HEADER].to_vec();
    header[16..24].copy_from_slice(&(json.len() as u64).to_le_bytes());
    header[32..40].copy_from_slice(&(begins as u64).to_le_bytes());
    let length = begins + model.len() - data;
    header[40..48].copy_from_slice(&(length as u64).to_le_bytes());
    header[48..52].copy_from_slice(&crc32fast::hash(&json).to_le_bytes());
    let sum = crc32fast::hash(&header[..56]);
    header[56..60].copy_from_slice(&sum.to_le_bytes());

    let mut file = header;
    file.extend(json);
    file.extend(&rest[..table]);
    file.resize(begins, 0);
    file.extend(&model[data..]);
    Ok(file)
}
