//! `onebit train --sweep`.

use serde_json::Value;

use crate::common::{line, metrics, newest, workplace};

const SWEEP: &str = "train --config config.json --data-dir tokens --val-data-dir valid.txt --tokenizer tok.json \
                     --device cpu --max-steps 40 --batch-size 1 --set eval_every=10 --output-dir out --sweep";

#[test]
fn the_worst_are_given_up_and_the_same_command_goes_on() {
    let dir = workplace();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(
        at("sweep.json"),
        r#"{"fields": {"lr": [1e-9, 3e-3, 1e-8]}, "seeds": [1, 2], "rungs": [0.5, 1], "keep": 0.3}"#,
    )
    .unwrap();
    let table = line(dir.path(), &format!("{SWEEP} sweep.json --lr 7"))
        .ok()
        .stdout;
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert!(
        rows[0].starts_with("| 2 | 0.003 | 40 | ") && rows[0].contains("(2 seeds)"),
        "{table}"
    );
    assert!(
        rows[1..].iter().all(|row| row.contains(" | 20 | ")),
        "{table}"
    );
    // What was paused and went on is what never paused.
    line(
        dir.path(),
        &format!(
            "{} --lr 0.003 --seed 2",
            SWEEP.replace("--output-dir out --sweep", "--output-dir whole")
        ),
    )
    .ok();
    let without_times = |run: &str| -> Vec<Value> {
        metrics(&at(run))
            .iter()
            .map(|l| l["val_loss"].clone())
            .collect()
    };
    assert_eq!(
        without_times("out/trial-002/seed-2"),
        without_times("whole")
    );
    let model = |run: &str| std::fs::read(newest(&at(run)).join("model.safetensors")).unwrap();
    assert!(model("out/trial-002/seed-2") == model("whole"));
    // Nothing is done again.
    let log = std::fs::read(at("out/trial-001/seed-1/log.txt")).unwrap();
    let again = line(dir.path(), &format!("{SWEEP} sweep.json --lr 7"))
        .ok()
        .stdout;
    assert_eq!(again, table);
    assert_eq!(
        std::fs::read(at("out/trial-001/seed-1/log.txt")).unwrap(),
        log
    );
    assert!(
        std::fs::read_to_string(at("out/sweep.svg"))
            .unwrap()
            .contains("<svg")
    );
    let record = std::fs::read_to_string(at("out/sweep.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["trials"][1]["losses"].as_array().unwrap().len(), 2);
    // Another sweep does not mix with it.
    std::fs::write(at("other.json"), r#"{"fields": {"lr": [1e-3]}}"#).unwrap();
    line(dir.path(), &format!("{SWEEP} other.json")).fails(&["of another sweep"]);
}

#[test]
fn what_cannot_be_trained_is_told_before_anything_begins() {
    let dir = workplace();
    let cases = [
        (
            r#"{"fields": {"lr": [1e-3], "hidden_sizes": [4]}}"#,
            "hidden_sizes",
        ),
        (r#"{"fields": {"num_heads": [3]}}"#, "trial 1 (num_heads 3)"),
        (r#"{"fields": {"lr": {"from": 1, "to": 2}}}"#, "`trials`"),
    ];
    for (sweep, reason) in cases {
        std::fs::write(dir.path().join("sweep.json"), sweep).unwrap();
        line(dir.path(), &format!("{SWEEP} sweep.json")).fails(&[reason]);
        assert!(!dir.path().join("out").exists());
    }
    line(dir.path(), &format!("{SWEEP} sweep.json --resume")).fails(&["leave --resume out"]);
}
