//! `report.json` and `report.md`, from what the parts have found.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::part::Part;
use crate::output;

pub const JSON: &str = "report.json";
pub const MARKDOWN: &str = "report.md";

/// How a part came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Well,
    Failed(String),
}

pub struct Report {
    quick: bool,
    parts: Vec<(Part, Value)>,
}

impl Report {
    pub fn new(quick: bool) -> Report {
        Report {
            quick,
            parts: Vec::new(),
        }
    }

    pub fn add(
        &mut self,
        part: Part,
        ended: &Ended,
        took: Duration,
        mut found: Map<String, Value>,
    ) {
        found.insert("seconds".to_owned(), json!(took.as_secs_f64()));
        if let Ended::Failed(why) = ended {
            // What the part itself says is nearer to the cause.
            found.entry("error").or_insert_with(|| json!(why));
        }
        self.parts.push((part, Value::Object(found)));
        self.floors();
    }

    fn part(&self, part: Part) -> &Value {
        let found = self.parts.iter().find(|(p, _)| *p == part);
        found.map_or(&Value::Null, |(_, value)| value)
    }

    /// Beside each speed what it could be: weights and cache from memory at the speed of a copy, or
    /// the dispatches, whichever takes longer; and of training the share of the fastest product.
    fn floors(&mut self) {
        let rates = self.part(Part::Rates);
        let (Some(copy), Some(dispatch)) =
            (rates["copy_gb_s"].as_f64(), rates["dispatch_us"].as_f64())
        else {
            return;
        };
        let products = rates["products"].as_array().cloned().unwrap_or_default();
        let fastest = |names: &[&str]| {
            let own = products
                .iter()
                .filter(|p| names.iter().any(|n| p["product"] == *n));
            own.filter_map(|p| p["tera_per_second"].as_f64())
                .fold(0.0, f64::max)
        };
        let (f32_rate, f16_rate) = (fastest(&["f32"]), fastest(&["f16", "cooperative"]));
        for (part, found) in &mut self.parts {
            let Some(speeds) = found.get_mut("speeds").and_then(Value::as_array_mut) else {
                continue;
            };
            for speed in speeds {
                let number = |name: &str| speed[name].as_f64();
                match part {
                    Part::Inference => {
                        let (Some(rate), Some(rows), Some(bytes), Some(dispatches)) = (
                            number("tokens_per_second"),
                            number("rows"),
                            number("step_bytes"),
                            number("dispatches"),
                        ) else {
                            continue;
                        };
                        let floor = (bytes / (copy * 1e9)).max(dispatches * dispatch / 1e6);
                        speed["floor_ms"] = json!(1e3 * floor);
                        speed["step_ms"] = json!(1e3 * rows / rate);
                        speed["times_floor"] = json!(rows / rate / floor);
                    }
                    Part::Training => {
                        let (Some(rate), Some(flops)) =
                            (number("tokens_per_second"), number("flops_per_token"))
                        else {
                            continue;
                        };
                        let best = if speed["precision"] == "f32" {
                            f32_rate
                        } else {
                            f16_rate
                        };
                        if best > 0.0 {
                            speed["share_of_product"] = json!(rate * flops / 1e12 / best);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// The parts that failed, and why.
    pub fn failures(&self) -> Vec<String> {
        let failed = self.parts.iter().filter_map(|(part, found)| {
            let why = found["error"].as_str()?;
            Some(format!("{}: {why}", part.name()))
        });
        failed.collect()
    }

    /// Both files, each whole or as it was.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let parts: Map<String, Value> = self
            .parts
            .iter()
            .map(|(part, found)| (part.name().to_owned(), found.clone()))
            .collect();
        let missing: Vec<_> = Part::ALL
            .iter()
            .filter(|p| self.part(**p).is_null())
            .collect();
        let report = json!({
            "quick": self.quick,
            "complete": missing.is_empty(),
            "failures": self.failures(),
            "parts": parts,
        });
        let json = serde_json::to_string_pretty(&report)? + "\n";
        for (name, text) in [(JSON, json), (MARKDOWN, self.markdown())] {
            let file = folder.join(name);
            output::replace(&file, |draft| {
                std::fs::write(draft, &text)
                    .with_context(|| format!("cannot write {}", file.display()))
            })?;
        }
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut text = String::from("# onebit bench --suite gpu\n\n");
        let found = self.part(Part::Adapter);
        let adapter = &found["adapter"];
        line(
            &mut text,
            &format!(
                "{} ({}, {}), driver {}, subgroups of {} to {}; processor: {}; onebit {}{}",
                word(&adapter["name"]),
                word(&adapter["backend"]),
                word(&adapter["kind"]),
                word(&adapter["driver"]),
                adapter["subgroup_sizes"][0],
                adapter["subgroup_sizes"][1],
                word(&found["processor"]),
                word(&found["version"]),
                if self.quick { ", --quick" } else { "" },
            ),
        );
        line(
            &mut text,
            &format!(
                "Products: {}. Forms: {}.",
                words(&found["products"]),
                words(&adapter["forms"])
            ),
        );
        match self.failures().as_slice() {
            [] => line(&mut text, "All that was compared agrees with the CPU."),
            failures => {
                line(&mut text, "**Not all is well:**");
                failures.iter().for_each(|f| text += &format!("- {f}\n"));
                text.push('\n');
            }
        }
        self.verified(&mut text);
        self.rates(&mut text);
        self.speeds(&mut text);
        text += "## Time\n\n| part | s | cut |\n|---|---|---|\n";
        for (part, found) in &self.parts {
            let seconds = found["seconds"].as_f64().unwrap_or_default();
            let _ = writeln!(
                text,
                "| {} | {seconds:.0} | {} |",
                part.title(),
                words(&found["cut"])
            );
        }
        text += "\n## Features and limits\n\n";
        line(&mut text, &words(&adapter["features"]));
        if let Some(limits) = adapter["limits"].as_object() {
            limits
                .iter()
                .for_each(|(name, value)| text += &format!("- {name}: {value}\n"));
        }
        text
    }

    fn verified(&self, text: &mut String) {
        let operations = self.part(Part::Operations);
        if let Some(rows) = operations["operations"].as_array() {
            *text += "## Operations against the CPU\n\n| operation | comparisons | largest error |\n|---|---|---|\n";
            for row in rows {
                let error = row["error"].as_f64().unwrap_or(f64::NAN);
                let _ = writeln!(
                    *text,
                    "| {} | {} | {error:.1e} |",
                    word(&row["operation"]),
                    row["compared"]
                );
            }
            text.push('\n');
        }
        for wrong in operations["wrong"].as_array().into_iter().flatten() {
            let _ = writeln!(
                *text,
                "- **wrong**: {} {} {}: {}",
                word(&wrong["operation"]),
                word(&wrong["shape"]),
                word(&wrong["form"]),
                word(&wrong["problem"])
            );
        }
        for prompt in self.part(Part::Text)["prompts"]
            .as_array()
            .into_iter()
            .flatten()
        {
            line(
                text,
                &format!(
                    "Text after {}: {} of {} tokens are the CPU's, {} near ties.",
                    prompt["prompt"], prompt["same"], prompt["tokens"], prompt["ties"]
                ),
            );
        }
        if let Some(error) = self.part(Part::TrainingSteps)["error"].as_f64() {
            line(
                text,
                &format!("Losses of 100 training steps are off by {error:.1e} at most."),
            );
        }
    }

    fn rates(&self, text: &mut String) {
        let rates = self.part(Part::Rates);
        if let (Some(copy), Some(dispatch)) =
            (rates["copy_gb_s"].as_f64(), rates["dispatch_us"].as_f64())
        {
            *text += "## Rates\n\n";
            line(
                text,
                &format!("Copy {copy:.1} GB/s (read and written), a dispatch {dispatch:.2} µs."),
            );
        }
        if let Some(products) = rates["products"].as_array() {
            *text += "| product | size | TFLOP/s |\n|---|---|---|\n";
            for p in products {
                let _ = writeln!(
                    *text,
                    "| {} | {} | {} |",
                    word(&p["product"]),
                    p["size"],
                    figure(p, "tera_per_second")
                );
            }
            text.push('\n');
        }
    }

    fn speeds(&self, text: &mut String) {
        let inference = self.part(Part::Inference);
        if let Some(shapes) = inference["dispatches"].as_array() {
            *text += "## Decode and prefill\n\n";
            for s in shapes {
                line(
                    text,
                    &format!(
                        "{}: {} dispatches a token, {} a layer.",
                        word(&s["shape"]),
                        s["token"],
                        s["layer"]
                    ),
                );
            }
        }
        if let Some(speeds) = inference["speeds"].as_array() {
            *text += "| shape | step | tok/s | ms a step | floor, ms | times the floor |\n|---|---|---|---|---|---|\n";
            for s in speeds {
                let _ = writeln!(
                    *text,
                    "| {} | {} | {} | {} | {} | {} |",
                    word(&s["shape"]),
                    word(&s["kind"]),
                    figure(s, "tokens_per_second"),
                    figure(s, "step_ms"),
                    figure(s, "floor_ms"),
                    figure(s, "times_floor")
                );
            }
            text.push('\n');
        }
        if let Some(speeds) = self.part(Part::Training)["speeds"].as_array() {
            *text += "## Training\n\n| shape | precision | tok/s | s a step | share of the fastest product |\n|---|---|---|---|---|\n";
            for s in speeds {
                let _ = writeln!(
                    *text,
                    "| {} | {} | {} | {} | {} |",
                    word(&s["shape"]),
                    word(&s["precision"]),
                    figure(s, "tokens_per_second"),
                    figure(s, "seconds_per_step"),
                    figure(s, "share_of_product")
                );
            }
            text.push('\n');
        }
    }
}

fn line(text: &mut String, sentence: &str) {
    text.push_str(sentence);
    text.push_str("\n\n");
}

/// A text, or a dash where there is none.
fn word(value: &Value) -> &str {
    value.as_str().map_or("–", str::trim)
}

fn words(list: &Value) -> String {
    let words: Vec<&str> = list.as_array().into_iter().flatten().map(word).collect();
    words.join(", ")
}

/// A number with four digits, or what went wrong.
fn figure(of: &Value, name: &str) -> String {
    match of[name].as_f64() {
        Some(value) if value >= 1000.0 => format!("{value:.0}"),
        Some(value) if value >= 1.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.4}"),
        None => word(&of["error"]).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    fn report() -> Report {
        let mut report = Report::new(false);
        let second = Duration::from_secs(1);
        let rates = json!({"copy_gb_s": 100.0, "dispatch_us": 10.0,
            "products": [{"product": "f32", "size": 1024, "tera_per_second": 2.0}]});
        report.add(Part::Rates, &Ended::Well, second, object(rates));
        let inference = json!({"speeds": [
            {"shape": "A", "kind": "decode", "rows": 1, "tokens_per_second": 500.0, "step_bytes": 1e8, "dispatches": 50},
            {"shape": "B", "kind": "decode", "rows": 1, "tokens_per_second": 500.0, "step_bytes": 1e6, "dispatches": 50}]});
        report.add(Part::Inference, &Ended::Well, second, object(inference));
        let training = json!({"speeds": [
            {"shape": "C", "precision": "f32", "tokens_per_second": 1e6, "flops_per_token": 1e6},
            {"shape": "C", "precision": "f16", "error": "no memory"}]});
        report.add(
            Part::Training,
            &Ended::Failed("it crashed".to_owned()),
            second,
            object(training),
        );
        report
    }

    #[test]
    fn the_floor_is_the_larger_of_bytes_and_dispatches() {
        let report = report();
        let speeds = &report.part(Part::Inference)["speeds"];
        assert_eq!(speeds[0]["floor_ms"], 1.0);
        assert_eq!(speeds[0]["times_floor"], 2.0);
        assert_eq!(speeds[1]["floor_ms"], 0.5);
        assert_eq!(
            report.part(Part::Training)["speeds"][0]["share_of_product"],
            0.5
        );
    }

    #[test]
    fn failures_are_told_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let report = report();
        report.write(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(MARKDOWN)).unwrap();
        assert!(
            text.contains("- training: it crashed") && text.contains("no memory"),
            "{text}"
        );
        let json = std::fs::read(folder.path().join(JSON)).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["complete"], false);
        assert_eq!(json["failures"][0], "training: it crashed");
        assert_eq!(json["parts"]["rates"]["copy_gb_s"], 100.0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
