//! What a sweep tries: the file of `--sweep`, and the trials that come of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ternary::rng::Rng;

/// The file.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct Plan {
    /// What is tried of each field of the config, model or training.
    pub fields: BTreeMap<String, Values>,
    /// So many trials drawn at random; without, every combination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trials: Option<usize>,
    /// Of the drawing.
    #[serde(default)]
    pub seed: u64,
    /// Seeds that each trial is trained with; its loss is the mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
    /// Successive halving (Jamieson and Talwalkar 2016): after these shares of the steps only the
    /// best go on.
    #[serde(default = "whole")]
    pub rungs: Vec<f64>,
    /// The share of them.
    #[serde(default = "half")]
    pub keep: f64,
}

fn whole() -> Vec<f64> {
    vec![1.0]
}

fn half() -> f64 {
    0.5
}

/// Values of a field.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(
    untagged,
    expecting = "a field has a list of values, or a range {\"from\": A, \"to\": B} with \"scale\" (linear or log) and \"whole\" (true or false)"
)]
pub enum Values {
    List(Vec<Value>),
    Range(Range),
}

/// Numbers between two.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Range {
    pub from: f64,
    pub to: f64,
    #[serde(default)]
    pub scale: Scale,
    /// Whole numbers only.
    #[serde(default)]
    pub whole: bool,
}

/// How numbers are spread.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    #[default]
    Linear,
    Log,
}

/// Values of the fields.
pub type Trial = BTreeMap<String, Value>;

impl Plan {
    /// From the file's text.
    pub fn read(text: &str) -> Result<Self> {
        let plan: Plan = serde_json::from_str(text).context(
            "a sweep is {\"fields\": {FIELD: [VALUE, …] or {\"from\": A, \"to\": B}}, …}; docs/sweep.md has all of it",
        )?;
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<()> {
        ensure!(
            !self.fields.is_empty(),
            "`fields` is empty: there is nothing to try"
        );
        for (field, values) in &self.fields {
            match values {
                Values::List(list) => ensure!(!list.is_empty(), "`{field}` has no value to try"),
                Values::Range(Range {
                    from, to, scale, ..
                }) => {
                    ensure!(
                        self.trials.is_some(),
                        "`{field}` is a range, of which values are drawn: say how many with `trials`"
                    );
                    ensure!(
                        from < to && from.is_finite() && to.is_finite(),
                        "`{field}` goes from {from} to {to}; `from` must be less than `to`"
                    );
                    ensure!(
                        *scale == Scale::Linear || *from > 0.0,
                        "`{field}` begins at {from}; a logarithmic range begins above 0"
                    );
                }
            }
            ensure!(
                field != "seed",
                "`seed` is no field to compare: `seeds` trains each trial with several"
            );
        }
        ensure!(self.trials != Some(0), "`trials` must be at least 1");
        let rising = self.rungs.windows(2).all(|pair| pair[0] < pair[1]);
        ensure!(
            rising
                && self.rungs.iter().all(|share| *share > 0.0)
                && self.rungs.last() == Some(&1.0),
            "`rungs` are shares of the steps that rise to 1, for example [0.25, 0.5, 1]"
        );
        ensure!(
            self.keep > 0.0 && self.keep < 1.0,
            "`keep` is {}; it is a share between 0 and 1",
            self.keep
        );
        Ok(())
    }

    /// What is tried, no two alike.
    pub fn trials(&self) -> Result<Vec<Trial>> {
        const MOST: usize = 10_000;
        let mut all: Vec<Trial> = Vec::new();
        if let Some(count) = self.trials {
            let mut noise = Rng::named(self.seed, "sweep");
            // Few values may not make as many trials.
            for _ in 0..100 * count {
                let trial = self
                    .fields
                    .iter()
                    .map(|(field, values)| (field.clone(), drawn(values, &mut noise)));
                let trial: Trial = trial.collect();
                if !all.contains(&trial) {
                    all.push(trial);
                }
                if all.len() == count {
                    break;
                }
            }
            return Ok(all);
        }
        all.push(Trial::new());
        for (field, values) in &self.fields {
            let Values::List(list) = values else {
                bail!("`{field}` is a range");
            };
            let count = all.len() * list.len();
            ensure!(
                count <= MOST,
                "that makes {count} trials; say how many with `trials`"
            );
            all = all
                .iter()
                .flat_map(|trial| {
                    list.iter().map(move |value| {
                        let mut trial = trial.clone();
                        trial.insert(field.clone(), value.clone());
                        trial
                    })
                })
                .collect();
        }
        Ok(all)
    }

    /// How many of `trials` go on behind a rung.
    pub fn kept(&self, trials: usize) -> usize {
        ((trials as f64 * self.keep).ceil() as usize).clamp(1, trials.max(1))
    }
}

fn drawn(values: &Values, noise: &mut Rng) -> Value {
    match values {
        Values::List(list) => list[noise.below(list.len() as u64) as usize].clone(),
        Values::Range(Range {
            from,
            to,
            scale,
            whole,
        }) => {
            let share = noise.uniform();
            let value = match scale {
                Scale::Linear => from + share * (to - from),
                Scale::Log => (from.ln() + share * (to / from).ln()).exp(),
            };
            match whole {
                true => Value::from(value.round() as i64),
                // Three digits are enough to tell values apart, and can be read.
                false => Value::from(format!("{value:.2e}").parse::<f64>().unwrap_or(value)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Plan {
        Plan::read(text).unwrap()
    }

    #[test]
    fn every_combination_or_so_many() {
        let grid = plan(r#"{"fields": {"lr": [1e-3, 3e-3], "optimizer": ["adamw", "muon"]}}"#);
        let all = grid.trials().unwrap();
        assert_eq!(all.len(), 4);
        assert!(
            all.iter()
                .enumerate()
                .all(|(i, a)| all[..i].iter().all(|b| a != b))
        );
        let text = r#"{"trials": 30, "seed": 3, "fields": {"lr": {"from": 1e-4, "to": 1e-2, "scale": "log"},
            "num_layers": {"from": 2, "to": 6, "whole": true}, "use_rope": [true, false]}}"#;
        let drawn = plan(text).trials().unwrap();
        assert_eq!(drawn.len(), 30);
        assert_eq!(
            plan(text).trials().unwrap(),
            drawn,
            "the same seed, the same trials"
        );
        let small = drawn
            .iter()
            .filter(|t| t["lr"].as_f64().unwrap() < 1e-3)
            .count();
        assert!((8..=22).contains(&small), "{small} of 30 below the middle");
        assert!(
            drawn
                .iter()
                .all(|t| (2..=6).contains(&t["num_layers"].as_i64().unwrap()))
        );
        // There are only two.
        let few = plan(r#"{"trials": 9, "fields": {"use_rope": [true, false]}}"#);
        assert_eq!(few.trials().unwrap().len(), 2);
        assert_eq!((few.kept(9), few.kept(1)), (5, 1));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, reason) in [
            (r#"{"fields": {}}"#, "nothing to try"),
            (r#"{"fields": {"lr": []}}"#, "`lr` has no value"),
            (r#"{"fields": {"lr": {"from": 1, "to": 2}}}"#, "`trials`"),
            (
                r#"{"trials": 2, "fields": {"lr": {"from": 2, "to": 1}}}"#,
                "less than",
            ),
            (
                r#"{"trials": 2, "fields": {"lr": {"from": 0, "to": 1, "scale": "log"}}}"#,
                "above 0",
            ),
            (r#"{"fields": {"seed": [1]}}"#, "`seeds`"),
            (r#"{"fields": {"lr": [1]}, "rungs": [0.5]}"#, "rise to 1"),
            (r#"{"fields": {"lr": [1]}, "keep": 1}"#, "between 0 and 1"),
            (r#"{"fields": {"lr": [1]}, "rung": [1]}"#, "a sweep is"),
        ] {
            let error = format!("{:#}", Plan::read(text).unwrap_err());
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
