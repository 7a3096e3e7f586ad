//! TensorBoard's event files: the figures of `metrics.jsonl` as scalars.
//!
//! A file is a sequence of records (TFRecord): length (u64), its masked CRC-32C, a message, its
//! masked CRC-32C, all little-endian. Messages are protocol buffers, of which these fields are
//! used: `Event` {1: wall time (double), 2: step (int64), 3: file version, 5: `Summary` {1: `Value`
//! {1: tag, 2: float}}, 7: `SessionLog` {1: status}}.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::error::Result;
use ternary_common::error::IoContext;

/// Of the layout that knows the beginning of a session.
const VERSION: &str = "brain.Event:2";
/// `SessionLog.START`: what other files of the folder say of this step and later ones is void.
const START: u64 = 1;

/// Appends events to a file of its own.
#[derive(Debug)]
pub(crate) struct Events {
    file: std::fs::File,
    path: PathBuf,
}

impl Events {
    /// A new file in `dir`, of a run that was `resumed` at a step, if it was.
    pub fn create(dir: &Path, resumed: Option<usize>) -> Result<Self> {
        let now = now();
        let process = std::process::id();
        // Files of one second are told apart.
        let name = |n: usize| {
            format!(
                "events.out.tfevents.{:010}.onebit.{process}.{n}",
                now as u64
            )
        };
        let free = (0..).map(|n| dir.join(name(n))).find(|path| !path.exists());
        let path = free.unwrap_or_else(|| dir.join(name(0)));
        let file = std::fs::File::create_new(&path).at("create", &path)?;
        let mut events = Events { file, path };
        events.record(&[double(1, now), text(3, VERSION)].concat())?;
        if let Some(step) = resumed {
            let start = [
                double(1, now),
                number(2, step as u64 + 1),
                message(7, &number(1, START)),
            ];
            events.record(&start.concat())?;
        }
        Ok(events)
    }

    /// The numbers of a line of `metrics.jsonl`, except its step.
    pub fn line(&mut self, line: &Value) -> Result<()> {
        let (Some(fields), Some(step)) = (line.as_object(), line["step"].as_u64()) else {
            return Ok(());
        };
        let scalars = fields.iter().filter(|(key, _)| *key != "step");
        let values = scalars.filter_map(|(key, value)| {
            let value = value.as_f64()? as f32;
            Some(message(1, &[text(1, key), float(2, value)].concat()))
        });
        let summary: Vec<u8> = values.flatten().collect();
        if summary.is_empty() {
            return Ok(());
        }
        self.record(&[double(1, now()), number(2, step), message(5, &summary)].concat())
    }

    /// One write, so that a killed process leaves no half of a record.
    fn record(&mut self, data: &[u8]) -> Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let record = [&length[..], &masked(&length), data, &masked(data)].concat();
        Ok(self.file.write_all(&record).at("write", &self.path)?)
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}

/// CRC-32C, turned and moved so that one of data with their own checksum differs from it.
fn masked(data: &[u8]) -> [u8; 4] {
    let turned = crc32c::crc32c(data).rotate_right(15);
    turned.wrapping_add(0xa282_ead8).to_le_bytes()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field's number and how it is stored: 0 varint, 1 eight bytes, 2 with its length, 5 four bytes.
fn key(field: u64, wire: u64) -> Vec<u8> {
    varint(field << 3 | wire)
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [key(field, 0), varint(value)].concat()
}

fn double(field: u64, value: f64) -> Vec<u8> {
    [&key(field, 1)[..], &value.to_le_bytes()].concat()
}

fn float(field: u64, value: f32) -> Vec<u8> {
    [&key(field, 5)[..], &value.to_le_bytes()].concat()
}

fn message(field: u64, bytes: &[u8]) -> Vec<u8> {
    [&key(field, 2)[..], &varint(bytes.len() as u64), bytes].concat()
}

fn text(field: u64, value: &str) -> Vec<u8> {
    message(field, value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The records of a file, their checksums compared.
    fn records(bytes: &[u8]) -> Vec<&[u8]> {
        let (mut rest, mut records) = (bytes, Vec::new());
        while let Some((length, after)) = rest.split_first_chunk::<8>() {
            let len = u64::from_le_bytes(*length) as usize;
            assert_eq!(after[..4], masked(length));
            let data = &after[4..4 + len];
            assert_eq!(after[4 + len..8 + len], masked(data));
            records.push(data);
            rest = &after[8 + len..];
        }
        assert!(rest.is_empty());
        records
    }

    #[test]
    fn lines_become_records_of_scalars() {
        // As TensorFlow's own test has it.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::create(dir.path(), Some(7)).unwrap();
        events
            .line(&json!({"step": 300, "train_loss": 1.5, "note": "x", "val_loss": null}))
            .unwrap();
        Events::create(dir.path(), None).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        let bytes = std::fs::read(&events.path).unwrap();
        let [first, start, line] = records(&bytes)[..] else {
            panic!("three records");
        };
        assert!(first.ends_with(b"brain.Event:2"));
        assert_eq!(start[9..], [0x10, 8, 0x3a, 2, 8, 1]);
        let value = [&b"\x0a\x0atrain_loss\x15"[..], &1.5f32.to_le_bytes()].concat();
        let summary = [&[0x0a, value.len() as u8][..], &value].concat();
        let expected = [&[0x10, 0xac, 2, 0x2a, summary.len() as u8][..], &summary].concat();
        assert_eq!(line[9..], expected);
    }
}
