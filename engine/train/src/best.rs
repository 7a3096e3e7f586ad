//! The checkpoint with the lowest validation loss: `best.json` in the run's folder names it, and
//! pruning spares it.
//!
//! ```json
//! { "checkpoint": "step-0000400", "step": 400, "val_loss": 1.5302 }
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::checkpoint::{self, folder_name, is_checkpoint};
use super::files;
use crate::error::{Error, Result};
use ternary_common::error::IoContext;
use ternary_common::exact::Exact;

const FILE: &str = "best.json";
/// `RUN/best` stands for the best checkpoint of a run.
const NAME: &str = "best";

/// The lowest validation loss (nats) so far and the step it was measured at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Names its checkpoint.
    pub step: usize,
    /// Nats per token.
    pub val_loss: Exact,
}

impl Best {
    /// The checkpoint's folder inside the run `dir`.
    pub(super) fn folder(&self, dir: &Path) -> PathBuf {
        dir.join(folder_name(self.step))
    }

    /// Write `best.json`; the checkpoint must be there.
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        let value = json!({
            "checkpoint": folder_name(self.step),
            "step": self.step,
            "val_loss": self.val_loss.0,
        });
        files::write(&dir.join(FILE), format!("{value:#}\n").as_bytes())
    }
}

/// After an interruption `best.json` may be one save behind the newest checkpoint, whose state
/// knows better.
pub(super) fn reconcile(dir: &Path, known: Option<Best>) -> Result<Option<Best>> {
    match known.filter(|b| b.folder(dir).is_dir()) {
        Some(best) => {
            best.write(dir)?;
            Ok(Some(best))
        }
        None => {
            let file = dir.join(FILE);
            if file.exists() {
                std::fs::remove_file(&file).at("remove", &file)?;
            }
            Ok(None)
        }
    }
}

/// Whether `path` is `RUN/best` of a run that has checkpoints.
pub(super) fn is_best(path: &Path) -> bool {
    let run = path.parent().filter(|run| !run.as_os_str().is_empty());
    path.file_name().is_some_and(|n| n == NAME)
        && !path.exists()
        && (path.with_file_name(FILE).is_file()
            || checkpoint::list(run.unwrap_or(Path::new("."))).is_ok_and(|all| !all.is_empty()))
}

/// The checkpoint that `RUN/best` stands for.
pub(super) fn resolve(path: &Path) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct File {
        checkpoint: String,
    }
    let file = path.with_file_name(FILE);
    if !file.is_file() {
        let run = path.parent().filter(|run| !run.as_os_str().is_empty());
        let newest = checkpoint::newest(run.unwrap_or(Path::new(".")))?;
        let newest = newest.ok_or_else(|| Error::NoBest {
            path: path.to_owned(),
        })?;
        // Once: a command may ask several times.
        static SAID: std::sync::Once = std::sync::Once::new();
        SAID.call_once(|| {
            log::warn!(
                "{} is the newest checkpoint, {}: none is known to be the best, for want of validation data or because keep_best is off",
                path.display(),
                newest.display()
            );
        });
        return Ok(newest);
    }
    let text = std::fs::read_to_string(&file).at("read", &file)?;
    let named: File = serde_json::from_str(&text).map_err(|cause| Error::Json {
        path: file.clone(),
        cause,
    })?;
    let folder = path.with_file_name(&named.checkpoint);
    if !is_checkpoint(&folder) {
        return Err(Error::BestGone {
            path: file,
            named: named.checkpoint,
        });
    }
    Ok(folder)
}
