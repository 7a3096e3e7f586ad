//! What a sweep tries: the file of `--sweep`, and the trials that come of it.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use ternary::rng::Rng;

use crate::args;

/// The file.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct Plan {
    /// What is tried of each field of the config, model or training.
    #[serde(deserialize_with = "fields")]
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
    /// The share of them; half, if nothing else is said.
    #[serde(default, serialize_with = "share")]
    pub keep: Option<f64>,
}

/// Trials of a sweep, at most.
const MOST: usize = 10_000;

fn whole() -> Vec<f64> {
    vec![1.0]
}

/// Fields by one name each, with what is tried: `training.lr` is `lr`, as for `--set`, so that the
/// command's own `--lr` is known to be the same field.
fn fields<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Values>, D::Error> {
    struct Fields;
    impl<'de> Visitor<'de> for Fields {
        type Value = BTreeMap<String, Values>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of fields and what is tried of each")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = BTreeMap::new();
            while let Some((name, values)) = map.next_entry::<String, Values>()? {
                let name = args::field_name(&name).to_owned();
                if fields.contains_key(&name) {
                    let message = format!("the field `{name}` is there twice");
                    return Err(serde::de::Error::custom(message));
                }
                fields.insert(name, values);
            }
            Ok(fields)
        }
    }
    from.deserialize_map(Fields)
}

/// The share that goes on where a plan names none.
const HALF: f64 = 0.5;

/// Recorded sweeps name the share always.
fn share<S: serde::Serializer>(keep: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(keep.unwrap_or(HALF))
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
                Values::List(list) => {
                    ensure!(!list.is_empty(), "`{field}` has no value to try");
                    if let Some(twice) = repeated(list) {
                        bail!("`{field}` has {twice} twice; leave one out");
                    }
                }
                Values::Range(Range {
                    from,
                    to,
                    scale,
                    whole,
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
                    let is_whole = |end: f64| end.fract() == 0.0 && end.abs() < 2f64.powi(53);
                    ensure!(
                        !*whole || (is_whole(*from) && is_whole(*to)),
                        "`{field}` goes from {from:?} to {to:?}; with `whole` both must be whole numbers"
                    );
                }
            }
            ensure!(
                field != "seed",
                "`seed` is no field to compare: `seeds` trains each trial with several"
            );
        }
        ensure!(
            self.trials
                .is_none_or(|trials| (1..=MOST).contains(&trials)),
            "`trials` is {}; it is a number from 1 to {MOST}",
            self.trials.unwrap_or_default()
        );
        if let Some(twice) = repeated(&self.seeds) {
            bail!("`seeds` has {twice} twice; leave one out");
        }
        let rising = self.rungs.windows(2).all(|pair| pair[0] < pair[1]);
        ensure!(
            rising
                && self.rungs.iter().all(|share| *share > 0.0)
                && self.rungs.last() == Some(&1.0),
            "`rungs` are shares of the steps that rise to 1, for example [0.25, 0.5, 1]"
        );
        if let Some(keep) = self.keep {
            ensure!(
                keep > 0.0 && keep < 1.0,
                "`keep` is {keep}; it is a share between 0 and 1"
            );
            ensure!(
                self.rungs.len() > 1,
                "`keep` says how many go on behind a rung: say where with `rungs`, for example [0.25, 0.5, 1]"
            );
        }
        Ok(())
    }

    /// What is tried, no two alike.
    pub fn trials(&self) -> Result<Vec<Trial>> {
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
        let keep = self.keep.unwrap_or(HALF);
        ((trials as f64 * keep).ceil() as usize).clamp(1, trials.max(1))
    }
}

/// A value that is there more than once.
fn repeated<T: PartialEq>(values: &[T]) -> Option<&T> {
    let twice = |(i, value): &(usize, &T)| values[..*i].contains(value);
    values
        .iter()
        .enumerate()
        .find(twice)
        .map(|(_, value)| value)
}

/// With three digits, which can be read, or as many as tell the values of a range apart.
fn rounded(value: f64, from: f64, to: f64) -> f64 {
    let fine = (to - from) / 100.0;
    let digits = |more: usize| format!("{value:.more$e}").parse::<f64>().unwrap_or(value);
    let rounded = (2..17).map(digits).find(|r| (r - value).abs() <= fine);
    // Rounding leaves no range: 0.9996 would be 1.
    rounded.unwrap_or(value).clamp(from, to)
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
                false => Value::from(rounded(value, *from, *to)),
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
        // A narrow range: three digits would leave five values, one of them no decay at all.
        let text = r#"{"trials": 30, "fields": {"beta2": {"from": 0.995, "to": 0.9999}}}"#;
        let narrow = plan(text).trials().unwrap();
        assert_eq!(narrow.len(), 30);
        let inside = |t: &Trial| (0.995..=0.9999).contains(&t["beta2"].as_f64().unwrap());
        assert!(narrow.iter().all(inside));
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
            (
                r#"{"trials": 2, "fields": {"n": {"from": 2.1, "to": 4, "whole": true}}}"#,
                "whole numbers",
            ),
            (
                r#"{"trials": 20000, "fields": {"lr": [1]}}"#,
                "from 1 to 10000",
            ),
            (r#"{"trials": 0, "fields": {"lr": [1]}}"#, "`trials` is 0"),
            (r#"{"fields": {"lr": [1, 2, 1]}}"#, "`lr` has 1 twice"),
            (
                r#"{"fields": {"lr": [1]}, "seeds": [5, 5]}"#,
                "`seeds` has 5 twice",
            ),
            (r#"{"fields": {"seed": [1]}}"#, "`seeds`"),
            (r#"{"fields": {"lr": [1]}, "rungs": [0.5]}"#, "rise to 1"),
            (r#"{"fields": {"lr": [1]}, "keep": 1}"#, "between 0 and 1"),
            (r#"{"fields": {"lr": [1]}, "keep": 0.5}"#, "`rungs`"),
            (r#"{"fields": {"lr": [1]}, "rung": [1]}"#, "a sweep is"),
            (
                r#"{"fields": {"lr": [1], "training.lr": [2]}}"#,
                "`lr` is there twice",
            ),
        ] {
            let error = format!("{:#}", Plan::read(text).unwrap_err());
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
