//! `layers.jsonl`: figures of every matrix.

use std::path::Path;

use serde_json::Value;

use crate::common::{line, metrics, newest, workplace};

const TRAIN: &str = "train --config config.json --data-dir tokens --tokenizer tok.json --device cpu --batch-size 2 \
                     --log-every 1 --max-steps 12 --output-dir";

fn layers(run: &Path) -> Vec<Value> {
    std::fs::read_to_string(run.join("layers.jsonl"))
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[test]
fn statistics_describe_every_matrix_and_change_nothing() {
    let dir = workplace();
    let d = dir.path();
    line(d, &format!("{TRAIN} with --stats-every 3 --save-every 6")).ok();
    line(
        d,
        &format!("{TRAIN} without --stats-every 0 --val-data-dir valid.txt"),
    )
    .ok();
    line(d, &format!("{TRAIN} default --val-data-dir valid.txt")).ok();
    line(d, &format!("{TRAIN} blind")).ok();
    assert!(!d.join("without/layers.jsonl").exists() && !d.join("blind/layers.jsonl").exists());
    let steps = |run: &str| -> Vec<u64> {
        layers(&d.join(run))
            .iter()
            .map(|l| l["step"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(
        (steps("with"), steps("default")),
        (vec![3, 6, 9, 12], vec![12])
    );
    let model = |run: &str| std::fs::read(newest(&d.join(run)).join("model.safetensors")).unwrap();
    assert!(model("with") == model("without") && model("with") == model("blind"));
    let losses = |run: &str| -> Vec<Value> {
        metrics(&d.join(run))
            .iter()
            .map(|l| l["train_loss"].clone())
            .collect()
    };
    assert_eq!(losses("with"), losses("blind"));

    let lines = layers(&d.join("with"));
    let grad_norms: Vec<f64> = metrics(&d.join("with"))
        .iter()
        .map(|l| l["grad_norm"].as_f64().unwrap())
        .collect();
    for l in &lines {
        let matrices = l["matrices"].as_array().unwrap();
        // Two layers of seven matrices, and the embedding, which is the head.
        assert_eq!(matrices.len(), 15);
        let number =
            |m: &Value, key: &str| m[key].as_f64().unwrap_or_else(|| panic!("{key} in {m}"));
        let mut squares = 0.0;
        for m in matrices {
            squares += number(m, "grad_norm").powi(2);
            assert!(number(m, "latent_rms") > 0.0);
            let ternary = m["mode"] == "ternary";
            assert_eq!(ternary, m["name"].as_str().unwrap().contains(".layers."));
            assert_eq!(ternary, m["zero"].is_number(), "{m}");
            if ternary {
                let shares = ["minus", "zero", "plus"].map(|k| number(m, k));
                assert!(
                    (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9
                        && shares.iter().all(|s| *s > 0.1),
                    "{m}"
                );
                assert!(
                    (0.0..0.5).contains(&number(m, "flips_per_step"))
                        && number(m, "mean_scale") > 0.0,
                    "{m}"
                );
            }
        }
        // The norms' squares and those of the RMSNorms add up to the global norm's.
        let whole = grad_norms[l["step"].as_u64().unwrap() as usize - 1];
        assert!(
            squares.sqrt() <= whole * 1.0001 && squares.sqrt() > whole * 0.5,
            "{} {whole}",
            squares.sqrt()
        );
    }
    let flips: f64 = lines[0]["matrices"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|m| m["flips_per_step"].as_f64())
        .sum();
    assert!(flips > 0.0);

    // A resumed run drops the lines it makes again; here its flips begin at the very checkpoint the
    // last line was made at.
    crate::common::copy_dir(&d.join("with/step-0000006"), &d.join("again/step-0000006"));
    std::fs::copy(d.join("with/layers.jsonl"), d.join("again/layers.jsonl")).unwrap();
    line(d, &format!("{TRAIN} again --stats-every 3 --resume")).ok();
    assert_eq!(layers(&d.join("again")), lines);
}
