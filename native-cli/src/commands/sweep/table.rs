//! What a sweep found, for people.

use std::fmt::Write;
use ternary::words::counted;

use super::Tried;
use super::plan::Trial;

/// Runs in the picture at most.
const DRAWN: usize = 6;

/// `lr 0.001, optimizer muon`.
pub fn fields(trial: &Trial) -> String {
    let field = |(name, value): (&String, &serde_json::Value)| match value.as_str() {
        Some(text) => format!("{name} {text}"),
        None => format!("{name} {value}"),
    };
    trial.iter().map(field).collect::<Vec<_>>().join(", ")
}

/// Those that got furthest first, of these the best.
fn sorted(trials: &[Tried]) -> Vec<&Tried> {
    let mut all: Vec<&Tried> = trials.iter().collect();
    let steps = |tried: &Tried| tried.reached.as_ref().map_or(0, |(steps, _)| *steps);
    all.sort_by(|a, b| {
        let failed = a.failed.is_some().cmp(&b.failed.is_some());
        let further = steps(b).cmp(&steps(a));
        failed.then(further).then(a.loss().total_cmp(&b.loss()))
    });
    all
}

/// The few that are worth a look.
pub fn best(trials: &[Tried]) -> Vec<&Tried> {
    let mut all = sorted(trials);
    all.retain(|tried| tried.reached.is_some());
    all.truncate(DRAWN);
    all
}

/// A row for every trial, the best first.
pub fn markdown(trials: &[Tried]) -> String {
    let names: Vec<&String> = trials.iter().flat_map(|t| t.fields.keys()).collect();
    let mut columns: Vec<&String> = Vec::new();
    for name in names {
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    let mut text = "| trial |".to_owned();
    for name in &columns {
        let _ = write!(text, " {name} |");
    }
    text += " steps | validation loss |\n|---|";
    text += &"---|".repeat(columns.len() + 2);
    for tried in sorted(trials) {
        let _ = write!(text, "\n| {} |", tried.number);
        for name in &columns {
            let value = tried.fields.get(*name);
            let shown = value.map_or(String::new(), |value| match value.as_str() {
                Some(text) => text.to_owned(),
                None => value.to_string(),
            });
            let _ = write!(text, " {} |", shown.replace('|', "\\|"));
        }
        let result = match (&tried.failed, &tried.reached) {
            (Some(reason), _) => format!(" | {} |", reason.replace('|', "\\|")),
            (None, None) => " | |".to_owned(),
            (None, Some((steps, losses))) => format!(" {steps} | {} |", spread(losses)),
        };
        text += &result;
    }
    text
}

/// Mean and standard deviation.
fn spread(losses: &[f64]) -> String {
    let n = losses.len() as f64;
    let mean = losses.iter().sum::<f64>() / n;
    match losses.len() {
        0 | 1 => format!("{mean:.4}"),
        count => {
            let squares: f64 = losses.iter().map(|v| (v - mean) * (v - mean)).sum();
            let deviation = (squares / (n - 1.0)).sqrt();
            format!("{mean:.4} ± {deviation:.4} ({})", counted(count, "seed"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_best_of_those_that_got_furthest_comes_first() {
        let tried = |number: usize, lr: f64, reached, failed: Option<&str>| Tried {
            number,
            fields: Trial::from([
                ("lr".to_owned(), json!(lr)),
                ("act".to_owned(), json!("a|b")),
            ]),
            trainings: Vec::new(),
            reached,
            failed: failed.map(str::to_owned),
        };
        let trials = [
            tried(1, 0.1, Some((50, vec![1.0])), None),
            tried(2, 0.2, Some((100, vec![2.0, 4.0])), None),
            tried(3, 0.3, None, Some("failed: x")),
            tried(4, 0.4, Some((100, vec![2.5, 2.5])), None),
        ];
        let text = markdown(&trials);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows[0], "| trial | act | lr | steps | validation loss |");
        assert_eq!(
            rows[2],
            "| 4 | a\\|b | 0.4 | 100 | 2.5000 ± 0.0000 (2 seeds) |"
        );
        assert_eq!(
            rows[3],
            "| 2 | a\\|b | 0.2 | 100 | 3.0000 ± 1.4142 (2 seeds) |"
        );
        assert_eq!(rows[4], "| 1 | a\\|b | 0.1 | 50 | 1.0000 |");
        assert!(rows[5].contains("failed: x"));
        assert_eq!(best(&trials).len(), 3);
        assert_eq!(fields(&trials[0].fields), "act a|b, lr 0.1");
    }
}
