//! A file of a larger model than any machine holds, of which only the head is there: enough for
//! what is decided before a weight is read.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use ternary::config::ModelConfig;
use ternary::format::{MemorySink, MemorySource, Metadata, OneBit, Packing, Writer};

const HEADER: usize = 64;
const ALIGN: usize = 64;

/// Write `model` with other values of its configuration, and tensors of the shapes that it then
/// has: a hole in the file.
pub fn write(path: &Path, model: &[u8], changes: Map<String, Value>) -> Result<()> {
    let source = MemorySource::new("model.1bit", model.to_vec());
    let metadata = pollster::block_on(OneBit::open(&source))?.metadata;
    let mut config = serde_json::to_value(&metadata.config)?;
    config.as_object_mut().context("no config")?.extend(changes);
    let metadata = Metadata {
        config: ModelConfig::from_value(config)?,
        ..metadata
    };
    let mut nowhere = MemorySink::default();
    let planned = Writer::new(&mut nowhere, metadata.clone(), Packing::Ternary2)?;
    let entries = planned.entries().to_vec();
    let data = entries.last().map_or(0, |t| t.offset + t.length);
    let (json, table) = (
        serde_json::to_vec(&metadata)?,
        serde_json::to_vec(&entries)?,
    );

    let begins = (HEADER + json.len() + table.len()).next_multiple_of(ALIGN);
    let length = begins as u64 + data;
    let mut header = model[..16].to_vec();
    for number in [json.len() as u64, table.len() as u64, begins as u64, length] {
        header.extend(number.to_le_bytes());
    }
    header.extend(crc32fast::hash(&json).to_le_bytes());
    header.extend(crc32fast::hash(&table).to_le_bytes());
    header.extend(crc32fast::hash(&header).to_le_bytes());
    header.resize(HEADER, 0);

    let mut file = File::create(path)?;
    for part in [header, json, table] {
        file.write_all(&part)?;
    }
    file.set_len(length)?;
    Ok(())
}
