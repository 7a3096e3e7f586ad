//! Files of one JSON object a line (`metrics.jsonl`, `layers.jsonl`), each with a `step`.

use std::io::Write;
use std::path::PathBuf;

use crate::error::Result;
use ternary_common::error::IoContext;

/// Appends lines; after a resume, lines of steps that are about to be made again are dropped.
#[derive(Debug)]
pub(super) struct JsonLines {
    file: std::fs::File,
    path: PathBuf,
}

impl JsonLines {
    /// A new file, or the old one up to the step `resumed_at`.
    pub(super) fn open(path: PathBuf, resumed_at: Option<usize>) -> Result<Self> {
        let kept: String = match resumed_at {
            Some(step) if path.is_file() => {
                let bytes = std::fs::read(&path).at("read", &path)?;
                String::from_utf8_lossy(&bytes)
                    .lines()
                    .filter(|line| {
                        serde_json::from_str::<serde_json::Value>(line)
                            .ok()
                            .and_then(|v| v["step"].as_u64())
                            .is_some_and(|s| s <= step as u64)
                    })
                    .map(|line| format!("{line}\n"))
                    .collect()
            }
            _ => String::new(),
        };
        // Whole or not at all: an interruption here must not cost the lines of the steps before.
        super::files::write(&path, kept.as_bytes())?;
        let file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .at("open", &path)?;
        Ok(JsonLines { file, path })
    }

    /// Append one line. One write, so that a killed process leaves no half of it.
    pub(super) fn line(&mut self, value: &serde_json::Value) -> Result<()> {
        let line = format!("{value}\n");
        Ok(self
            .file
            .write_all(line.as_bytes())
            .at("write", &self.path)?)
    }
}
