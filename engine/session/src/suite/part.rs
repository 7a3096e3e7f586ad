//! The parts of the suite, the time that each has, and what it finds.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SuiteOptions;

/// In the order in which they run; later ones need what earlier ones found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// What it is and can do.
    Adapter,
    /// Every operation in each of its forms against the CPU.
    Operations,
    /// Greedy text against the CPU's.
    Text,
    /// Losses against the CPU's.
    TrainingSteps,
    /// What the device can do at best.
    Rates,
    /// Decode and prefill beside that.
    Inference,
    /// Training beside that.
    Training,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 7] = [
        Part::Adapter,
        Part::Operations,
        Part::Text,
        Part::TrainingSteps,
        Part::Rates,
        Part::Inference,
        Part::Training,
    ];

    /// As the report has it.
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

    /// For people to read.
    pub fn title(self) -> &'static str {
        match self {
            Part::Adapter => "The adapter",
            Part::Operations => "Every operation against the CPU",
            Part::Text => "The shipped model's text against the CPU's",
            Part::TrainingSteps => "Training steps against the CPU's",
            Part::Rates => "Bandwidth, dispatches and products",
            Part::Inference => "Decode and prefill",
            Part::Training => "Training",
        }
    }

    /// Whether it compares a GPU with the CPU, so that there is nothing to do without one.
    pub fn compares(self) -> bool {
        matches!(self, Part::Operations | Part::Text | Part::TrainingSteps)
    }

    /// What it plans with: it leaves out what does not fit any more. Natively all together stay
    /// below six minutes, and quick below two; a page has to compile everything anew.
    pub fn budget(self, options: &SuiteOptions) -> Duration {
        let (whole, quick, in_page) = match self {
            Part::Adapter => (5, 5, 10),
            Part::Operations => (90, 45, 120),
            Part::Text => (20, 10, 30),
            Part::TrainingSteps => (30, 15, 30),
            Part::Rates => (45, 10, 20),
            Part::Inference => (70, 15, 30),
            Part::Training => (70, 15, 30),
        };
        Duration::from_secs(match (options.quick, &options.browser) {
            (false, _) => whole,
            (true, None) => quick,
            (true, Some(_)) => in_page,
        })
    }

    /// When it is ended, whatever it does: one step may take longer than what is left, and a page
    /// shares its device with others.
    pub fn limit(self, options: &SuiteOptions) -> Duration {
        let budget = self.budget(options);
        match options.browser {
            None => budget * 3 / 2 + Duration::from_secs(15),
            Some(_) => budget * 3 + Duration::from_secs(30),
        }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Part::ALL.into_iter().find(|part| part.name() == text);
        found.ok_or_else(|| {
            let names = Part::ALL.map(Part::name).join(", ");
            format!("unknown part `{text}`; expected one of {names}")
        })
    }
}

#[cfg(feature = "gpu")]
pub(super) use findings::Findings;

#[cfg(feature = "gpu")]
mod findings {
    use std::time::Duration;

    use serde::Serialize;
    use serde_json::{Map, Value};
    use ternary_common::platform::Instant;

    use crate::suite::Told;

    /// What a part finds, told whole after each finding.
    pub struct Findings<'a> {
        found: Map<String, Value>,
        until: Instant,
        tell: &'a mut dyn FnMut(Told<'_>),
    }

    impl<'a> Findings<'a> {
        pub fn new(budget: Duration, tell: &'a mut dyn FnMut(Told<'_>)) -> Self {
            Findings {
                found: Map::new(),
                until: Instant::now() + budget,
                tell,
            }
        }

        /// A line for people who watch.
        pub fn say(&mut self, line: &str) {
            (self.tell)(Told::Line(line));
        }

        pub fn put(&mut self, name: &str, value: impl Serialize) {
            self.found.insert(name.to_owned(), value_of(value));
            (self.tell)(Told::Found(&self.found));
        }

        /// Another of a list of findings.
        pub fn push(&mut self, name: &str, value: impl Serialize) {
            let list = self
                .found
                .entry(name)
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(value_of(value));
            }
            (self.tell)(Told::Found(&self.found));
        }

        /// Whether there is time for something that takes so many seconds. If not, it is among what
        /// was cut.
        pub fn fits(&mut self, what: &str, seconds: f64) -> bool {
            let left = self.until.saturating_duration_since(Instant::now());
            let fits = left.as_secs_f64() >= seconds;
            if !fits {
                self.push("cut", what);
            }
            fits
        }
    }

    /// Everything that is found has a form in JSON.
    fn value_of(value: impl Serialize) -> Value {
        serde_json::to_value(value).unwrap_or_default()
    }
}
