//! The parts of the suite, the time that each has, and what it finds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::output;

/// In the order in which they run; later ones need what earlier ones found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Adapter,
    Operations,
    Text,
    TrainingSteps,
    Rates,
    Inference,
    Training,
}

impl Part {
    pub const ALL: [Part; 7] = [
        Part::Adapter,
        Part::Operations,
        Part::Text,
        Part::TrainingSteps,
        Part::Rates,
        Part::Inference,
        Part::Training,
    ];

    /// As `--part` and the report have it.
    pub fn name(self) -> &'static str {
        match self {
            Part::Adapter => "adapter",
            Part::Operations => "operations",
            Part::Text => "text",
            Part::TrainingSteps => "training-steps",
            Part::Rates => "rates",
            Part::Inference => "inference",
            Part::Training => "training",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Part::Adapter => "the adapter",
            Part::Operations => "every operation against the CPU",
            Part::Text => "the shipped model's text against the CPU's",
            Part::TrainingSteps => "100 training steps against the CPU's",
            Part::Rates => "bandwidth, dispatches and products",
            Part::Inference => "decode and prefill",
            Part::Training => "training",
        }
    }

    pub fn file(self) -> String {
        format!("{}.json", self.name())
    }

    /// What it plans with: it leaves out what does not fit any more. All together stay below six
    /// minutes, and quick below two.
    pub fn budget(self, quick: bool) -> Duration {
        let (whole, short) = match self {
            Part::Adapter => (5, 5),
            Part::Operations => (90, 45),
            Part::Text => (20, 10),
            Part::TrainingSteps => (30, 15),
            Part::Rates => (45, 10),
            Part::Inference => (70, 15),
            Part::Training => (70, 15),
        };
        Duration::from_secs(if quick { short } else { whole })
    }

    /// When it is ended, whatever it does: one step may take longer than what is left.
    pub fn limit(self, quick: bool) -> Duration {
        self.budget(quick) * 3 / 2 + Duration::from_secs(15)
    }
}

/// What a part finds: a file that is whole after each finding.
pub struct Findings {
    file: PathBuf,
    found: Map<String, Value>,
    until: Instant,
}

impl Findings {
    pub fn new(file: PathBuf, budget: Duration) -> Findings {
        Findings {
            file,
            found: Map::new(),
            until: Instant::now() + budget,
        }
    }

    /// Of a part that has run; nothing where it did not get that far.
    pub fn read(file: &Path) -> Map<String, Value> {
        let bytes = std::fs::read(file).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// What another part found before.
    pub fn of(&self, part: Part) -> Map<String, Value> {
        Findings::read(&self.file.with_file_name(part.file()))
    }

    pub fn put(&mut self, name: &str, value: impl Serialize) -> Result<()> {
        self.found
            .insert(name.to_owned(), serde_json::to_value(value)?);
        self.write()
    }

    /// Another of a list of findings.
    pub fn push(&mut self, name: &str, value: impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value)?;
        let list = self
            .found
            .entry(name)
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(value);
        }
        self.write()
    }

    /// Whether there is time for something that takes so many seconds. If not, it is among what
    /// was cut.
    pub fn fits(&mut self, what: &str, seconds: f64) -> Result<bool> {
        let left = self.until.saturating_duration_since(Instant::now());
        let fits = left.as_secs_f64() >= seconds;
        if !fits {
            self.push("cut", what)?;
        }
        Ok(fits)
    }

    fn write(&self) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(&self.found)?;
        output::replace(&self.file, |draft| {
            std::fs::write(draft, bytes)
                .with_context(|| format!("cannot write {}", self.file.display()))
        })
    }
}
