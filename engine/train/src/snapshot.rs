//! A trainer's whole state as the bytes of one safetensors file: where there are no folders, and
//! for a pause.
//!
//! Tensors `param.NAME`, `m.NAME` and, of what AdamW changes, `v.NAME` (f32) of everything trained;
//! the metadata hold `step` and `note`, a text of the caller's.

use std::collections::HashMap;

use safetensors::SafeTensors;

use super::trainer::Trainer;
use crate::error::{Error, Result, SnapshotError};
use ternary_core::params::Param;
use ternary_formats::safetensors as tensors;
use ternary_model::Parameters;
use ternary_model::program::BufferKind;

const STEP: &str = "step";
const NOTE: &str = "note";

fn unreadable(problem: impl std::fmt::Display) -> Error {
    Error::Snapshot(SnapshotError::Tensors(problem.to_string()))
}

impl Trainer {
    /// Values of everything trained, by name.
    pub async fn parameters(&mut self) -> Result<Parameters> {
        let mut all = Parameters::new();
        for p in self.trained() {
            let values = self.parameter(&p.name).await?;
            all.insert(p.name, values);
        }
        Ok(all)
    }

    /// The buffers of a parameter that going on needs.
    pub(super) fn parts(&self, p: &Param) -> Vec<String> {
        let kinds = [BufferKind::Param].into_iter();
        let all = kinds.chain(self.moments(p).iter().copied());
        all.map(|kind| kind.named(&p.name)).collect()
    }

    /// Everything that going on needs besides the data. `note` comes back from
    /// [`Trainer::restore_snapshot`].
    pub async fn snapshot(&mut self, note: &str) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        for p in self.trained() {
            for name in self.parts(&p) {
                let values = self.buffer(&name).await?;
                all.push((name, p.shape.clone(), values));
            }
        }
        let about = [(STEP, self.step.to_string()), (NOTE, note.to_owned())];
        let about = about.map(|(key, value)| (key.to_owned(), value));
        tensors::serialize_with(&all, Some(about.into())).map_err(Error::Serialize)
    }

    /// Bring a trainer recorded from the same config to a snapshot.
    ///
    /// # Errors
    /// A damaged snapshot, or one of another model; the trainer is then as it was, or new
    /// parameters short of the snapshot's.
    pub fn restore_snapshot(&mut self, bytes: &[u8]) -> Result<()> {
        let about = snapshot_about(bytes)?;
        let step = about.get(STEP).and_then(|s| s.parse().ok());
        let step: usize = step.ok_or(Error::Snapshot(SnapshotError::NoStep))?;
        let mut found = tensors::parse(bytes).map_err(unreadable)?;
        let mut values = Vec::new();
        for p in self.trained() {
            for name in self.parts(&p) {
                match found.remove(&name) {
                    Some((shape, given)) if shape == p.shape => values.push((name, given)),
                    Some((shape, _)) => {
                        return Err(Error::Snapshot(SnapshotError::Shape {
                            name,
                            found: shape,
                            expected: p.shape.clone(),
                        }));
                    }
                    None => return Err(Error::Snapshot(SnapshotError::Missing { name })),
                }
            }
        }
        for (name, values) in values {
            self.set_buffer(&name, &values)?;
        }
        self.step = step;
        Ok(())
    }
}

/// The note of a snapshot.
pub fn snapshot_note(bytes: &[u8]) -> Result<String> {
    let note = snapshot_about(bytes)?.remove(NOTE);
    note.ok_or(Error::Snapshot(SnapshotError::NoNote))
}

fn snapshot_about(bytes: &[u8]) -> Result<HashMap<String, String>> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
    Ok(header.metadata().clone().unwrap_or_default())
}
