//! `onebit convert`.

use std::path::Path;

use serde_json::Value;
use ternary::config::{LayerMode, QuantMode};
use ternary::format::{FileSource, OneBit};

use crate::common::{Output, line, metrics, sentences, workplace};

const FLOAT: &str = r#"{"embedding":"f16","layer_modes":["f16","f16"],"lm_head":"f16"}"#;

/// A place with a float model that knows its text, and the text.
fn place() -> tempfile::TempDir {
    let dir = workplace();
    let d = dir.path();
    std::fs::write(d.join("text.txt"), sentences(60_000, 5)).unwrap();
    line(
        d,
        &format!(
            "train --config config.json --data-dir tokens --tokenizer tok.json --output-dir float --device cpu \
             --max-steps 80 --chat-template chat.jinja --set layer_bit_map={FLOAT}"
        ),
    )
    .ok();
    dir
}

fn convert(d: &Path, model: &str, out: &str, flags: &str) -> Output {
    let command = format!(
        "convert --model {model} --data text.txt --output {out} --device cpu --context 32 {flags}"
    );
    line(d, &command)
}

/// Losses by what was measured.
fn loss(result: &Value, what: &str) -> f64 {
    let figures = result["figures"].as_array().unwrap();
    let found = figures.iter().find(|figure| figure["what"] == what);
    found.unwrap_or_else(|| panic!("{what}: {result}"))["loss"]
        .as_f64()
        .unwrap()
}

#[test]
fn a_float_model_becomes_ternary() {
    let dir = place();
    let d = dir.path();
    let flags = "--pretrain-steps 20 --distill-steps 20 --json";
    let result = convert(d, "float", "out", flags).ok().json();
    let of = |what: &str| loss(&result, what);
    let last = of("after distillation");
    assert!(of("float") < of("just quantized"), "{result}");
    assert!(last < of("just quantized"), "{result}");
    assert!(last < of("float") + 0.1, "{result}");
    // Nats of a token over the bits of its bytes.
    let first = &result["figures"][0];
    let bytes = of("float") / std::f64::consts::LN_2 / first["bits_per_byte"].as_f64().unwrap();
    assert!((1.0..6.0).contains(&bytes), "{bytes} bytes a token");

    let source = FileSource::open(&d.join("out/model.1bit")).unwrap();
    let file = pollster::block_on(OneBit::open(&source)).unwrap();
    let config = &file.metadata.config;
    let ternary = LayerMode::Whole(QuantMode::Ternary);
    assert!(
        config
            .bit_map()
            .layer_modes
            .iter()
            .all(|mode| *mode == ternary)
    );
    assert!(config.use_sub_norm);
    // Template and tokenizer are the float model's.
    assert!(file.metadata.chat_template.is_some());
    line(
        d,
        "generate --model out/model.1bit --prompt The --max-tokens 4 --device cpu",
    )
    .ok();

    let lines = metrics(&d.join("out"));
    let steps: Vec<u64> = lines.iter().map(|l| l["step"].as_u64().unwrap()).collect();
    assert!(
        steps.is_sorted_by(|a, b| a < b) && steps.last() == Some(&40),
        "{steps:?}"
    );
    let distilled = lines.iter().filter(|line| line["stage"] == "distill");
    for line in distilled.clone() {
        assert!(
            line["kl"].is_f64() && line["relation_kl"].is_f64(),
            "{line}"
        );
    }
    assert!(distilled.count() > 2);
    assert!(
        std::fs::read_to_string(d.join("out/curve.svg"))
            .unwrap()
            .contains("<svg")
    );

    // What is done is not done again; what was asked otherwise is not done at all.
    let model = std::fs::read(d.join("out/model.1bit")).unwrap();
    assert_eq!(convert(d, "float", "out", flags).ok().json(), result);
    assert!(model == std::fs::read(d.join("out/model.1bit")).unwrap());
    convert(d, "float", "out", &format!("{flags} --lr 1e-3")).fails(&["begun otherwise", "lr"]);
    convert(d, "float", "out", &format!("{flags} --seed 5")).fails(&["begun otherwise", "seed"]);
}

#[test]
fn an_interrupted_command_goes_on_bit_for_bit() {
    let dir = place();
    let d = dir.path();
    let flags = "--pretrain-steps 6 --distill-steps 6 --save-every 2 --log-every 1";
    convert(d, "float", "straight", &format!("{flags} --threads 1")).ok();
    for (pause, threads) in [
        ("--pause-at pretrain:3", 2),
        ("--pause-at distill:1", 1),
        ("", 2),
    ] {
        convert(
            d,
            "float",
            "paused",
            &format!("{flags} --threads {threads} {pause}"),
        )
        .ok();
        assert_eq!(d.join("paused/model.1bit").exists(), pause.is_empty());
    }
    let model = |run: &str| std::fs::read(d.join(run).join("model.1bit")).unwrap();
    assert!(model("straight") == model("paused"));
}

/// Minutes decide the steps, whatever they come to on this machine.
#[test]
fn minutes_are_planned_and_kept() {
    let dir = place();
    let d = dir.path();
    let flags = "--minutes 0.2 --batch-size 1";
    let said = convert(d, "float", "out", &format!("{flags} --pause-at pretrain:1")).ok();
    assert!(said.stderr.contains("plan: distill"), "{said:?}");
    let plan = std::fs::read_to_string(d.join("out/plan.json")).unwrap();
    convert(d, "float", "out", &format!("{flags} --pause-at pretrain:2")).ok();
    assert_eq!(
        plan,
        std::fs::read_to_string(d.join("out/plan.json")).unwrap()
    );
    convert(d, "float", "short", "--minutes 0.0001")
        .fails(&["too little time", "give more minutes"]);
}

/// Published forms of a float model are the same model.
#[test]
fn published_models_are_converted() {
    let dir = place();
    let d = dir.path();
    line(d, "export --model float --format hf --output hf").ok();
    line(d, "export --model float --format gguf --output float.gguf").ok();
    line(d, "export --model float --output float.1bit").ok();
    let steps = "--pretrain-steps 1 --distill-steps 1 --json --val-data valid.txt";
    let float = |model: &str, out: &str| loss(&convert(d, model, out, steps).ok().json(), "float");
    let own = float("float", "a");
    for (model, out) in [("hf", "b"), ("float.gguf", "c"), ("float.1bit", "d")] {
        let found = float(model, out);
        // They are stored in F16.
        assert!((found - own).abs() < 2e-3, "{model}: {found} {own}");
    }
    std::fs::remove_file(d.join("hf/tokenizer.json")).unwrap();
    convert(d, "hf", "e", steps).fails(&["tokenizer"]);
}

#[test]
fn what_cannot_be_converted_says_why() {
    let dir = place();
    let d = dir.path();
    let ternary = crate::common::fixture().join("model.1bit");
    let ternary = ternary.to_str().unwrap();
    convert(d, ternary, "out", "").fails(&["ternary or binary already", "onebit finetune"]);
    convert(d, "nowhere", "out", "").fails(&["nowhere does not exist", "--model takes"]);
    convert(d, "text.txt", "out", "").fails(&["text.txt"]);
    convert(d, "float", "text.txt", "").fails(&["--output text.txt is a file"]);
    for (flags, words) in [
        ("--relations 1,2", ["1,2", "three numbers"]),
        (
            "--pretrain-share 2",
            ["--pretrain-share 2", "between 0 and 1"],
        ),
        ("--minutes 0", ["--minutes 0", "above 0"]),
        ("--steps 5 --minutes 3", ["--steps", "--minutes"]),
        ("--set eval_batches=3", ["--set eval_batches", "the plan"]),
        ("--set hidden_size=64", ["hidden_size=64", "cannot change"]),
        (
            "--pretrain-steps 0 --distill-steps 0",
            ["every stage has 0 steps", "minutes"],
        ),
        (
            "--steps 4 --relation-layer 7",
            ["distill_relation_layer is 7", "num_layers is 2"],
        ),
        ("--val-data nowhere.txt", ["nowhere.txt", ""]),
    ] {
        convert(d, "float", "out", flags).fails(&words);
    }
    std::fs::write(d.join("text.txt"), "A short text.").unwrap();
    convert(d, "float", "out", "").fails(&["too little text", "--context"]);
    std::fs::write(
        d.join("other.jsonl"),
        "{\"question\": \"What?\"}\n".repeat(50),
    )
    .unwrap();
    line(
        d,
        "convert --model float --data other.jsonl --output out --device cpu",
    )
    .fails(&["other.jsonl"]);
    assert!(!d.join("out").exists());
}
