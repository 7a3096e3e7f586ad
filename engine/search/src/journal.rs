//! Every measurement in a file as it is made, so that a search that was killed goes on where it
//! was.
//!
//! JSON lines: first what the search is (its fingerprint), then `{"point": […], "loss": …}` for the
//! sample and `{"point": […], "full_loss": …}` for the whole text. A search repeats its decisions,
//! so known losses are answered from here.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::space::Point;
use super::strategy::Evaluate;
use crate::error::{Error, Result};
use ternary_common::bytes::LocalFuture;
use ternary_common::error::IoContext;
use ternary_common::exact::Exact;

#[derive(Serialize, Deserialize)]
struct Line {
    point: Point,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loss: Option<Exact>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    full_loss: Option<Exact>,
}

/// An evaluator that remembers in a file.
pub struct Journal<E> {
    inner: E,
    path: PathBuf,
    file: File,
    losses: HashMap<Point, f64>,
    full: HashMap<Point, f64>,
}

impl<E> Journal<E> {
    /// Begin a journal at `path`, or with `resume` go on with the one there, which must be of the
    /// same search.
    ///
    /// # Errors
    /// A journal that is there without `resume`, is of another search, or cannot be read.
    pub fn open(
        inner: E,
        path: &Path,
        fingerprint: &serde_json::Value,
        resume: bool,
    ) -> Result<Self> {
        let (mut losses, mut full) = (HashMap::new(), HashMap::new());
        // One that was killed before its first line holds nothing.
        let exists = path.metadata().is_ok_and(|file| file.len() > 0);
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        let mut file = options.open(path).at("write", path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(Error::JournalInUse {
                    path: path.to_owned(),
                });
            }
            // Some file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        if exists && !resume {
            return Err(Error::JournalExists {
                path: path.to_owned(),
            });
        }
        let mut whole = 0;
        if exists {
            let reader = BufReader::new(File::open(path).at("open", path)?);
            for (number, line) in reader.split(b'\n').enumerate() {
                let line = line.at("read", path)?;
                if number == 0 {
                    check(path, &line, fingerprint)?;
                } else {
                    // The last line may have been cut off by the kill.
                    let Ok(line) = serde_json::from_slice::<Line>(&line) else {
                        break;
                    };
                    losses.extend(line.loss.map(|Exact(loss)| (line.point.clone(), loss)));
                    full.extend(line.full_loss.map(|Exact(loss)| (line.point, loss)));
                }
                whole += line.len() as u64 + 1;
            }
        }
        if exists {
            file.set_len(whole.min(file.metadata().at("read", path)?.len()))
                .at("write", path)?;
        } else {
            writeln!(file, "{fingerprint}").at("write", path)?;
        }
        Ok(Journal {
            inner,
            path: path.to_owned(),
            file,
            losses,
            full,
        })
    }

    /// Losses that were known when it was opened or have been measured since.
    pub fn known(&self) -> usize {
        self.losses.len()
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        let text = serde_json::to_string(line).expect("a point and its loss are JSON");
        Ok(writeln!(self.file, "{text}").at("write", &self.path)?)
    }
}

fn check(path: &Path, found: &[u8], expected: &serde_json::Value) -> Result<()> {
    let found: serde_json::Value =
        serde_json::from_slice(found).map_err(|cause| Error::JournalHeader {
            path: path.to_owned(),
            cause,
        })?;
    let empty = serde_json::Map::new();
    let (a, b) = (
        found.as_object().unwrap_or(&empty),
        expected.as_object().unwrap_or(&empty),
    );
    match b.iter().find(|(key, value)| a.get(*key) != Some(value)) {
        None => Ok(()),
        Some((key, value)) => Err(Error::ForeignJournal {
            path: path.to_owned(),
            key: key.clone(),
            found: a.get(key).unwrap_or(&serde_json::Value::Null).to_string(),
            expected: value.to_string(),
        }),
    }
}

impl<E: Evaluate> Evaluate for Journal<E> {
    fn losses<'a>(&'a mut self, points: &'a [Point]) -> LocalFuture<'a, Result<Vec<f64>>> {
        Box::pin(async move {
            let new: Vec<Point> = points
                .iter()
                .filter(|p| !self.losses.contains_key(*p))
                .cloned()
                .collect();
            // A few at a time: a kill loses no more than these.
            for new in new.chunks(8) {
                let losses = self.inner.losses(new).await?;
                for (point, loss) in new.iter().zip(losses) {
                    self.losses.insert(point.clone(), loss);
                    self.write(&Line {
                        point: point.clone(),
                        loss: Some(Exact(loss)),
                        full_loss: None,
                    })?;
                }
            }
            Ok(points.iter().map(|p| self.losses[p]).collect())
        })
    }

    fn full_loss<'a>(&'a mut self, point: &'a Point) -> LocalFuture<'a, Result<f64>> {
        Box::pin(async move {
            if let Some(loss) = self.full.get(point) {
                return Ok(*loss);
            }
            let loss = self.inner.full_loss(point).await?;
            self.full.insert(point.clone(), loss);
            self.write(&Line {
                point: point.clone(),
                loss: None,
                full_loss: Some(Exact(loss)),
            })?;
            Ok(loss)
        })
    }
}
