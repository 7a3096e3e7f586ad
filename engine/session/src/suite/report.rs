//! The suite's report, from what the parts have found: as JSON, as Markdown, and part by part for a
//! page.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::part::Part;

/// What all parts have found so far.
#[derive(Clone, Debug)]
pub struct Report {
    title: &'static str,
    quick: bool,
    parts: Vec<(Part, Value)>,
}

/// A part of the report, for people to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Sentences.
    pub lines: Vec<String>,
    /// Heads of the table; none: there is no table.
    pub columns: Vec<&'static str>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

impl Section {
    fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    fn markdown(&self, text: &mut String) {
        for line in &self.lines {
            let _ = write!(text, "{line}\n\n");
        }
        if self.rows.is_empty() {
            return;
        }
        let dashes = vec!["---"; self.columns.len()];
        let _ = writeln!(text, "| {} |", self.columns.join(" | "));
        let _ = writeln!(text, "|{}|", dashes.join("|"));
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text.push('\n');
    }
}

impl Report {
    /// An empty one. `title`: what it was made with.
    pub fn new(title: &'static str, quick: bool) -> Report {
        Report {
            title,
            quick,
            parts: Vec::new(),
        }
    }

    /// Say that the rest is the shorter form.
    pub fn be_quick(&mut self) {
        self.quick = true;
    }

    /// What a part has found, in `took`, instead of what it had found before. `failed`: why it did
    /// not end well.
    pub fn set(
        &mut self,
        part: Part,
        failed: Option<&str>,
        took: Duration,
        mut found: Map<String, Value>,
    ) {
        found.insert("seconds".to_owned(), json!(took.as_secs_f64()));
        if let Some(why) = failed {
            // What the part itself says is nearer to the cause.
            found.entry("error").or_insert_with(|| json!(why));
        }
        self.parts.retain(|(p, _)| *p != part);
        self.parts.push((part, Value::Object(found)));
        self.floors();
    }

    /// What a part has found; null before it ran.
    pub fn part(&self, part: Part) -> &Value {
        let found = self.parts.iter().find(|(p, _)| *p == part);
        found.map_or(&Value::Null, |(_, value)| value)
    }

    /// Beside each speed what it could be: weights and cache from memory at the speed of a copy, or
    /// the dispatches, whichever takes longer; and of training the share of the fastest product.
    fn floors(&mut self) {
        let rates = self.part(Part::Rates);
        let (copy, dispatch) = (rates["copy_gb_s"].as_f64(), rates["dispatch_us"].as_f64());
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
                        let (Some(rate), Some(rows)) =
                            (number("tokens_per_second"), number("rows"))
                        else {
                            continue;
                        };
                        let step = rows / rate;
                        let floor = match (number("step_bytes"), number("dispatches"), copy) {
                            (Some(bytes), Some(dispatches), Some(copy)) => {
                                let dispatch = dispatch.unwrap_or_default();
                                Some((bytes / (copy * 1e9)).max(dispatches * dispatch / 1e6))
                            }
                            _ => None,
                        };
                        speed["step_ms"] = json!(1e3 * step);
                        if let Some(floor) = floor {
                            speed["floor_ms"] = json!(1e3 * floor);
                            speed["times_floor"] = json!(step / floor);
                        }
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

    /// Whether every part has run.
    pub fn is_complete(&self) -> bool {
        Part::ALL.iter().all(|part| !self.part(*part).is_null())
    }

    /// The whole report.
    pub fn json(&self) -> Value {
        let parts: Map<String, Value> = self
            .parts
            .iter()
            .map(|(part, found)| (part.name().to_owned(), found.clone()))
            .collect();
        json!({
            "quick": self.quick,
            "complete": self.is_complete(),
            "failures": self.failures(),
            "parts": parts,
        })
    }

    /// The same for people to read.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n", self.title);
        self.adapter().markdown(&mut text);
        match self.failures().as_slice() {
            [] if self.compared() => text += "All that was compared agrees with the CPU.\n\n",
            [] => {}
            failures => {
                text += "**Not all is well:**\n\n";
                failures.iter().for_each(|f| text += &format!("- {f}\n"));
                text.push('\n');
            }
        }
        for part in Part::ALL {
            if part != Part::Adapter && !self.part(part).is_null() {
                let _ = write!(text, "## {}\n\n", part.title());
                self.section(part).markdown(&mut text);
            }
        }
        let time = Section {
            lines: Vec::new(),
            columns: vec!["part", "s", "cut"],
            rows: self.parts.iter().map(time_row).collect(),
        };
        text += "## Time\n\n";
        time.markdown(&mut text);
        let adapter = &self.part(Part::Adapter)["adapter"];
        if let Some(limits) = adapter["limits"].as_object() {
            let _ = write!(
                text,
                "## Features and limits\n\n{}\n\n",
                words(&adapter["features"])
            );
            limits
                .iter()
                .for_each(|(name, value)| text += &format!("- {name}: {value}\n"));
        }
        text
    }

    /// Whether anything was compared.
    fn compared(&self) -> bool {
        self.part(Part::Operations)["compared"].as_u64() > Some(0)
    }

    /// What there was no time for in a part.
    pub fn cut(&self, part: Part) -> String {
        words(&self.part(part)["cut"])
    }

    /// What a part has found.
    pub fn section(&self, part: Part) -> Section {
        match part {
            Part::Adapter => self.adapter(),
            Part::Operations => self.operations(),
            Part::Text => self.text(),
            Part::TrainingSteps => self.training_steps(),
            Part::Rates => self.rates(),
            Part::Inference => self.inference(),
            Part::Training => self.training(),
        }
    }

    fn adapter(&self) -> Section {
        let mut section = Section::default();
        let found = self.part(Part::Adapter);
        let quick = if self.quick { ", quick" } else { "" };
        let host = match found["browser"].as_str() {
            Some(browser) => format!("browser: {browser}"),
            None => format!("processor: {}", word(&found["processor"])),
        };
        let program = format!("{host}; onebit {}{quick}", word(&found["version"]));
        let adapter = &found["adapter"];
        if adapter.is_null() {
            section.line(format!(
                "The CPU was measured ({}), for lack of a GPU: {}; {program}",
                word(&found["cpu"]),
                word(&found["missing"])
            ));
            return section;
        }
        let name = match word(&adapter["name"]) {
            // Browsers may keep it to themselves.
            "" => "An adapter without a name",
            name => name,
        };
        section.line(format!(
            "{name} ({}, {}), driver {}, subgroups of {} to {}; {program}",
            word(&adapter["backend"]),
            word(&adapter["kind"]),
            match word(&adapter["driver"]) {
                "" => "unknown",
                driver => driver,
            },
            adapter["subgroup_sizes"][0],
            adapter["subgroup_sizes"][1],
        ));
        section.line(format!(
            "Products: {}. Forms: {}.",
            words(&found["products"]),
            words(&adapter["forms"])
        ));
        section
    }

    fn operations(&self) -> Section {
        let found = self.part(Part::Operations);
        let mut section = Section {
            columns: vec!["operation", "comparisons", "largest error"],
            ..Section::default()
        };
        for wrong in list(&found["wrong"]) {
            section.line(format!(
                "**Wrong**: {} {}, form {}: {}",
                word(&wrong["operation"]),
                word(&wrong["shape"]),
                word(&wrong["form"]),
                word(&wrong["problem"])
            ));
        }
        for row in list(&found["operations"]) {
            section.rows.push(vec![
                word(&row["operation"]).to_owned(),
                row["compared"].to_string(),
                format!("{:.1e}", row["error"].as_f64().unwrap_or(f64::NAN)),
            ]);
        }
        section
    }

    fn text(&self) -> Section {
        let prompts = list(&self.part(Part::Text)["prompts"]);
        let row = |prompt: &Value| {
            let numbers = ["tokens", "same", "ties"].map(|name| prompt[name].to_string());
            let mut row = vec![word(&prompt["prompt"]).to_owned()];
            row.extend(numbers);
            row
        };
        Section {
            lines: Vec::new(),
            columns: vec!["text after", "tokens", "the CPU's", "near ties"],
            rows: prompts.iter().map(row).collect(),
        }
    }

    fn training_steps(&self) -> Section {
        let found = self.part(Part::TrainingSteps);
        let (cpu, gpu) = (list(&found["cpu"]), list(&found["gpu"]));
        let mut section = Section {
            columns: vec!["step", "loss on the CPU", "loss on the GPU"],
            ..Section::default()
        };
        if let Some(apart) = found["apart"].as_f64() {
            section.line(format!(
                "Losses of {} training steps are off by {apart:.1e} at most.",
                cpu.len()
            ));
        }
        if let Some(apart) = found["apart_f16"].as_f64() {
            section.line(format!(
                "With operands of products in f16 they are off by {apart:.1e}."
            ));
        }
        // The first, the last, and some between them.
        let (count, every) = (cpu.len(), (cpu.len() / 4).max(1));
        for (i, (cpu, gpu)) in cpu.iter().zip(gpu).enumerate() {
            if i % every == 0 || i + 1 == count {
                let loss = |value: &Value| format!("{:.5}", value.as_f64().unwrap_or(f64::NAN));
                section
                    .rows
                    .push(vec![(i + 1).to_string(), loss(cpu), loss(gpu)]);
            }
        }
        section
    }

    fn rates(&self) -> Section {
        let rates = self.part(Part::Rates);
        let mut section = Section {
            columns: vec!["product", "size", "TFLOP/s"],
            ..Section::default()
        };
        if let (Some(copy), Some(dispatch)) =
            (rates["copy_gb_s"].as_f64(), rates["dispatch_us"].as_f64())
        {
            section.line(format!(
                "Copy {copy:.1} GB/s (read and written), a dispatch {dispatch:.2} µs."
            ));
        }
        for p in list(&rates["products"]) {
            section.rows.push(vec![
                word(&p["product"]).to_owned(),
                p["size"].to_string(),
                figure(p, "tera_per_second"),
            ]);
        }
        section
    }

    fn inference(&self) -> Section {
        let inference = self.part(Part::Inference);
        let mut section = Section {
            columns: vec![
                "shape",
                "step",
                "tok/s",
                "ms a step",
                "floor, ms",
                "times the floor",
            ],
            ..Section::default()
        };
        for s in list(&inference["dispatches"]) {
            section.line(format!(
                "{}: {} dispatches a token, {} a layer.",
                word(&s["shape"]),
                s["token"],
                s["layer"]
            ));
        }
        for s in list(&inference["speeds"]) {
            let mut row = vec![word(&s["shape"]).to_owned(), word(&s["kind"]).to_owned()];
            let names = ["tokens_per_second", "step_ms", "floor_ms", "times_floor"];
            row.extend(names.map(|name| figure(s, name)));
            section.rows.push(row);
        }
        section
    }

    fn training(&self) -> Section {
        let speeds = list(&self.part(Part::Training)["speeds"]);
        let row = |s: &Value| {
            let mut row = vec![
                word(&s["shape"]).to_owned(),
                word(&s["precision"]).to_owned(),
            ];
            let names = ["tokens_per_second", "seconds_per_step", "share_of_product"];
            row.extend(names.map(|name| figure(s, name)));
            row
        };
        Section {
            lines: Vec::new(),
            columns: vec![
                "shape",
                "precision",
                "tok/s",
                "s a step",
                "share of the fastest product",
            ],
            rows: speeds.iter().map(row).collect(),
        }
    }
}

/// A part's row of the table of times.
fn time_row((part, found): &(Part, Value)) -> Vec<String> {
    let seconds = found["seconds"].as_f64().unwrap_or_default();
    vec![
        part.title().to_owned(),
        format!("{seconds:.0}"),
        words(&found["cut"]),
    ]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text, or a dash where there is none.
fn word(value: &Value) -> &str {
    value.as_str().map_or("–", str::trim)
}

fn words(value: &Value) -> String {
    let words: Vec<&str> = list(value).iter().map(word).collect();
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
        let mut report = Report::new("A test", false);
        let second = Duration::from_secs(1);
        let rates = json!({"copy_gb_s": 100.0, "dispatch_us": 10.0,
            "products": [{"product": "f32", "size": 1024, "tera_per_second": 2.0}]});
        report.set(Part::Rates, None, second, object(rates));
        let inference = json!({"speeds": [
            {"shape": "A", "kind": "decode", "rows": 1, "tokens_per_second": 500.0, "step_bytes": 1e8, "dispatches": 50},
            {"shape": "B", "kind": "decode", "rows": 1, "tokens_per_second": 500.0, "step_bytes": 1e6, "dispatches": 50},
            {"shape": "C", "kind": "decode", "rows": 1, "tokens_per_second": 250.0}]});
        report.set(Part::Inference, None, second, object(inference));
        let training = json!({"speeds": [
            {"shape": "C", "precision": "f32", "tokens_per_second": 1e6, "flops_per_token": 1e6},
            {"shape": "C", "precision": "f16", "error": "no memory"}]});
        report.set(Part::Training, Some("it crashed"), second, object(training));
        report
    }

    #[test]
    fn the_floor_is_the_larger_of_bytes_and_dispatches() {
        let report = report();
        let speeds = &report.part(Part::Inference)["speeds"];
        assert_eq!(speeds[0]["floor_ms"], 1.0);
        assert_eq!(speeds[0]["times_floor"], 2.0);
        assert_eq!(speeds[1]["floor_ms"], 0.5);
        // Without dispatches there is none, but the step's time.
        assert_eq!(speeds[2]["step_ms"], 4.0);
        assert!(speeds[2]["floor_ms"].is_null());
        assert_eq!(
            report.part(Part::Training)["speeds"][0]["share_of_product"],
            0.5
        );
        assert_eq!(report.section(Part::Inference).rows[2][4], "–");
    }

    #[test]
    fn failures_are_told_and_the_rest_is_kept() {
        let mut report = report();
        let text = report.markdown();
        assert!(
            text.contains("- training: it crashed") && text.contains("no memory"),
            "{text}"
        );
        let json = report.json();
        assert_eq!(json["complete"], false);
        assert_eq!(json["failures"][0], "training: it crashed");
        assert_eq!(json["parts"]["rates"]["copy_gb_s"], 100.0);
        // A part that is run again is told of once.
        report.set(Part::Training, None, Duration::ZERO, Map::new());
        assert!(report.failures().is_empty());
        assert_eq!(report.parts.len(), 3);
    }

    /// Every row of a table has as many cells as it has heads.
    #[test]
    fn tables_are_whole() {
        let mut report = report();
        let found = json!({"operations": [{"operation": "rope", "compared": 3, "error": 1e-6}],
            "wrong": [{"operation": "linear", "shape": "3", "form": "tiles", "problem": "0, the CPU has 1"}]});
        report.set(Part::Operations, None, Duration::ZERO, object(found));
        let found = json!({"prompts": [{"prompt": "Once", "tokens": 16, "same": 16, "ties": 0}]});
        report.set(Part::Text, None, Duration::ZERO, object(found));
        let found = json!({"cpu": [3.0, 2.0, 1.0], "gpu": [3.0, 2.0, 1.0], "apart": 1e-7, "apart_f16": 1e-4});
        report.set(Part::TrainingSteps, None, Duration::ZERO, object(found));
        for part in Part::ALL {
            let section = report.section(part);
            assert!(
                part == Part::Adapter || !section.rows.is_empty(),
                "{part:?}"
            );
            for row in &section.rows {
                assert_eq!(row.len(), section.columns.len(), "{part:?}");
            }
        }
        let text = report.markdown();
        assert!(
            text.contains("**Wrong**: linear 3, form tiles: 0"),
            "{text}"
        );
        assert!(text.contains("| rope | 3 | 1.0e-6 |"), "{text}");
        assert!(text.contains("in f16 they are off by 1.0e-4"), "{text}");
    }
}
