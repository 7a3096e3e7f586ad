//! The ternary recipe of `config/shakespeare.json` learns: tiny Shakespeare, one token a byte, 300
//! steps.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};

use common::{line, metrics, run};
use serde_json::Value;

const STEPS: &str = "300";
/// Steps of the two runs that are compared.
const SHORT: &str = "40";
/// Nats per character. Uniform guessing is 5.6; letter frequencies alone give 3.3; 1000 steps of
/// this recipe end near 1.9.
const ENOUGH: f64 = 2.3;

/// Shared data: `ONEBIT_SHARED`, or `../shared` beside the workspace.
fn shared() -> PathBuf {
    std::env::var_os("ONEBIT_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    )
}

#[test]
fn three_hundred_steps_learn_and_threads_do_not_matter() {
    let input = shared().join("data/tinyshakespeare/input.txt");
    let Ok(text) = std::fs::read_to_string(&input) else {
        eprintln!(
            "SKIPPED: no {}; put the text there or set ONEBIT_SHARED to the folder that holds data/",
            input.display()
        );
        return;
    };
    let dir = tempfile::TempDir::new().unwrap();
    let d = dir.path();
    let cut = text.floor_char_boundary(text.len() * 9 / 10);
    for (name, part) in [("train", &text[..cut]), ("valid", &text[cut..])] {
        std::fs::write(d.join(format!("{name}.txt")), part).unwrap();
    }
    line(
        d,
        "tokenize --data-dir train.txt --tokenizer tok.json --train-vocab 261 --output train.tokens",
    )
    .ok();
    line(
        d,
        "tokenize --data-dir valid.txt --tokenizer tok.json --output valid.tokens",
    )
    .ok();
    let count = (std::fs::metadata(d.join("train.tokens")).unwrap().len() - 64) / 2;
    assert_eq!(count as usize, cut, "one token a byte");
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/shakespeare.json");
    let config = config.display().to_string();
    let train = |out: &str, steps: &str, threads: &str| -> Vec<Value> {
        let args = [
            "train",
            "--config",
            &config,
            "--data-dir",
            "train.tokens",
            "--val-data-dir",
            "valid.tokens",
            "--tokenizer",
            "tok.json",
            "--output-dir",
            out,
            "--device",
            "cpu",
            "--max-steps",
            steps,
            "--threads",
            threads,
        ];
        run(d, &args).ok();
        metrics(&d.join(out))
    };
    let lines = train("run", STEPS, "2");
    let last = lines.last().unwrap();
    let loss = last["val_loss"].as_f64().unwrap();
    eprintln!("validation loss {loss:.4} nats a character after {STEPS} steps");
    assert_eq!(last["step"].to_string(), STEPS);
    assert!(loss < ENOUGH, "validation loss {loss}");
    // Identical to the last bit, not nearly: fewer steps show it as well and take a seventh of the
    // time.
    let (one, two) = (train("one", SHORT, "1"), train("two", SHORT, "2"));
    assert_eq!((one.len(), two.len()), (4, 4));
    for (a, b) in one.iter().zip(&two) {
        for key in [
            "step",
            "train_loss",
            "val_loss",
            "grad_norm",
            "learning_rate",
        ] {
            assert_eq!(a[key], b[key], "{key} of {a} and {b}");
        }
    }
}
