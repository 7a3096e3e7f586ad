//! `onebit search`, `eval-config`, `--bit-map` everywhere, and training in random modes.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Output, copy_dir, end, fixture, line, metrics, start, workplace};

const TERNARY: &str =
    r#"{"embedding": "f16", "layer_modes": ["ternary", "ternary"], "lm_head": "f16"}"#;

/// A place with the fixture's checkpoint.
fn place() -> tempfile::TempDir {
    let dir = workplace();
    copy_dir(&fixture().join("run"), &dir.path().join("run"));
    dir
}

fn search(d: &Path, flags: &str) -> Output {
    line(
        d,
        &format!("search --checkpoint run --val-data valid.txt --device cpu {flags}"),
    )
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Perplexity of the fixture's model, or another, in a bit-map.
fn perplexity(d: &Path, model: &str, map: &str) -> f64 {
    std::fs::write(d.join("map.json"), map).unwrap();
    let command = format!(
        "eval-config --model-dir {model} --bit-map map.json --val-data valid.txt --device cpu --json"
    );
    line(d, &command).ok().json()["perplexity"]
        .as_f64()
        .unwrap()
}

/// Nats per token by `onebit eval`.
fn loss(d: &Path, model: &str, more: &str) -> f64 {
    let command = format!("eval --model {model} --data valid.txt --device cpu --json {more}");
    line(d, &command).ok().json()["loss"].as_f64().unwrap()
}

#[test]
fn every_command_takes_what_the_search_found() {
    let dir = place();
    let d = dir.path();
    let own = perplexity(d, "run", TERNARY);
    let limit = own * 1.1;
    let found = search(
        d,
        &format!(
            "--min-perplexity-max {limit} --output r.json --model-config config.json --tokenizer tok.json --unpin --json"
        ),
    );
    let (result, printed) = (read(&d.join("r.json")), found.ok().json());
    assert_eq!(result["layer_bit_map"], printed["layer_bit_map"]);
    assert_eq!(result["satisfied"], true);
    let reached = result["perplexity"].as_f64().unwrap();
    assert!(reached <= limit, "{reached} {limit}");
    // 32 maps are fewer than may be evaluated: none smaller satisfies the limit.
    let bytes = result["size_bytes"].as_u64().unwrap();
    for e in result["evaluations"].as_array().unwrap() {
        let smaller = e["size_bytes"].as_u64().unwrap() < bytes;
        let p = e["full_perplexity"].as_f64().unwrap();
        assert!(!smaller || p > limit, "{e}");
    }
    assert!(!d.join("r.json.journal").exists());

    let again = line(
        d,
        "eval-config --model-dir run --bit-map r.json --val-data valid.txt --device cpu --json",
    );
    let again = again.ok().json();
    assert!((again["perplexity"].as_f64().unwrap() / reached - 1.0).abs() < 1e-12);
    line(
        d,
        "export --model-dir run --bit-map r.json --output small.1bit",
    )
    .ok();
    let written = std::fs::metadata(d.join("small.1bit")).unwrap().len();
    assert!(
        written <= bytes && bytes - written < 1024,
        "{written} {bytes}"
    );
    let (file, run) = (
        loss(d, "small.1bit", ""),
        loss(d, "run", "--bit-map r.json"),
    );
    assert!((file - run).abs() < 1e-12, "{file} {run}");
    // A .1bit can be put into another map, too, and its own changes nothing.
    assert!((loss(d, "small.1bit", "--bit-map r.json") - file).abs() < 1e-12);
    assert!(loss(d, "small.1bit", "--bit-map map.json") > 0.0);

    // Training goes on in the map, from the checkpoint searched.
    let train = "train --config config.json --data-dir tokens --tokenizer tok.json --val-data-dir valid.txt --device cpu --bit-map r.json --lr 2e-3 --log-every 1";
    let out = line(d, &format!("{train} --output-dir recovered --max-steps 20")).ok();
    assert!(
        out.stderr.contains("beginning with the weights of run"),
        "{}",
        out.stderr
    );
    let first = metrics(&d.join("recovered"))[0]["train_loss"]
        .as_f64()
        .unwrap();
    assert!(
        (first - reached.ln()).abs() < 0.25,
        "{first} {}",
        reached.ln()
    );
    let config = read(&crate::common::newest(&d.join("recovered")).join("config.json"));
    assert_eq!(config["layer_bit_map"], result["layer_bit_map"]);
    let recovered = loss(d, "recovered", "");
    assert!(recovered < run, "{recovered} {run}");
    // From scratch when told so; and a checkpoint that has changed since is not taken for the one
    // searched.
    line(
        d,
        &format!("{train} --output-dir scratch --init-from none --max-steps 1"),
    )
    .ok();
    let first = metrics(&d.join("scratch"))[0]["train_loss"]
        .as_f64()
        .unwrap();
    assert!(first > 4.0, "{first}");
    std::fs::remove_dir_all(d.join("run")).unwrap();
    copy_dir(&d.join("recovered"), &d.join("run"));
    line(d, &format!("{train} --output-dir refused"))
        .fails(&["changed since the search", "--init-from"]);
}

#[test]
fn a_ternary_matrix_has_no_better_f16_behind_it() {
    let dir = place();
    let d = dir.path();
    let ternary = perplexity(d, "run", TERNARY);
    for mode in ["f16", "eightbit"] {
        let p = perplexity(d, "run", &TERNARY.replace("ternary", mode));
        // The same values; F16 matrices read activations that are not rounded to int8.
        assert!((p / ternary - 1.0).abs() < 0.02, "{mode}: {p} {ternary}");
    }
    let binary = perplexity(d, "run", &TERNARY.replace("ternary", "binary"));
    assert!(binary > ternary * 1.05, "{binary} {ternary}");
}

#[test]
fn limits_that_cannot_be_satisfied_have_their_own_exit_code() {
    let dir = place();
    let d = dir.path();
    let out = search(
        d,
        "--min-perplexity-max 1.5 --max-size-mb 0.04 --output r.json",
    );
    assert_eq!(out.code, Some(3), "{}", out.stderr);
    out.fails(&["no map has", "1.5", "0.04 MB"]);
    let result = read(&d.join("r.json"));
    assert_eq!(result["satisfied"], false);
    assert!(result["pareto_front"].as_array().unwrap().len() > 1);
    // The best within the size alone.
    let size = result["pareto_front"][0]["size_bytes"].as_f64().unwrap() / 1e6 + 0.002;
    let out = search(d, &format!("--max-size-mb {size} --output s.json --json")).ok();
    let (result, max) = (out.json(), (size * 1e6) as u64);
    let within = result["evaluations"].as_array().unwrap().iter();
    let within = within.filter(|e| e["size_bytes"].as_u64().unwrap() <= max);
    let lowest = within
        .map(|e| e["perplexity"].as_f64().unwrap())
        .fold(f64::INFINITY, f64::min);
    assert!((result["perplexity"].as_f64().unwrap() - lowest).abs() < 1e-9);
}

#[test]
fn a_killed_search_goes_on() {
    let dir = place();
    let d = dir.path();
    let own = perplexity(d, "run", TERNARY) * 1.05;
    let flags = |out: &str| {
        format!(
            "--granularity matrix --max-evals 60 --eval-tokens 0 --threads 1 --min-perplexity-max {own} --output {out}"
        )
    };
    search(d, &flags("whole.json")).ok();
    // How many evaluations a search needs depends on the order in which a processor adds.
    let all = read(&d.join("whole.json"))["evaluations"]
        .as_array()
        .unwrap()
        .len();
    assert!(
        all >= 8,
        "a search of {all} evaluations is too short to be killed twice"
    );
    let command = format!(
        "search --checkpoint run --val-data valid.txt --device cpu {}",
        flags("r.json")
    );
    let journal = d.join("r.json.journal");
    let lines = || std::fs::read_to_string(&journal).map_or(0, |t| t.lines().count());
    let mut seen = 0;
    for more in [3, 2] {
        let kill_at = seen + more;
        let resume = if seen > 0 { " --resume" } else { "" };
        let words = command.clone() + resume;
        let mut child = start(d, &words.split_whitespace().collect::<Vec<_>>());
        let begun = Instant::now();
        while lines() < kill_at && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        let said = end(child);
        assert!(
            lines() >= kill_at,
            "{} of {kill_at} lines, {seen} before: {said:?}",
            lines()
        );
        seen = lines();
    }
    search(d, &flags("r.json")).fails(&["r.json.journal", "--resume"]);
    search(d, &(flags("r.json") + " --resume --seed 9")).fails(&["another search", "settings"]);
    let text = std::fs::read_to_string(&journal).unwrap();
    let points: Vec<String> = text
        .lines()
        .skip(1)
        .filter_map(|l| serde_json::from_str::<Value>(l).ok())
        .filter(|v| v.get("loss").is_some())
        .map(|v| v["point"].to_string())
        .collect();
    assert_eq!(points.iter().collect::<HashSet<_>>().len(), points.len());
    search(d, &(flags("r.json") + " --resume")).ok();
    assert_eq!(read(&d.join("r.json")), read(&d.join("whole.json")));
}

#[test]
fn bad_input_is_refused() {
    let dir = place();
    let d = dir.path();
    search(d, "--output r.json").fails(&["--min-perplexity-max"]);
    search(d, "--min-perplexity-max 0.5 --output r.json").fails(&["above 1"]);
    search(d, "--max-size-mb -1 --output r.json").fails(&["--max-size-mb"]);
    search(d, "--max-size-mb 1 --modes f16,int4 --output r.json").fails(&["int4", "binary"]);
    search(d, "--max-size-mb 1 --granularity row --output r.json").fails(&["layer or matrix"]);
    line(
        d,
        "search --checkpoint run/x.safetensors --val-data valid.txt --max-size-mb 1 --output r.json",
    )
    .fails(&["--model-config", "--tokenizer"]);
    for (map, words) in [
        (
            TERNARY.replace(r#", "ternary"]"#, "]"),
            ["line 1", "num_layers is 2"],
        ),
        (
            TERNARY.replace("ternary", "ternery"),
            ["line 1", "`ternery`"],
        ),
        (
            TERNARY.replace(r#", "lm_head": "f16""#, ""),
            ["line 1", "`lm_head`"],
        ),
    ] {
        std::fs::write(d.join("bad.json"), map).unwrap();
        for command in [
            "eval-config --model-dir run --val-data valid.txt --bit-map bad.json",
            "eval --model run --data valid.txt --bit-map bad.json",
            "export --model-dir run --output x.1bit --bit-map bad.json",
            "train --config config.json --data-dir tokens --tokenizer tok.json --output-dir x --bit-map bad.json",
        ] {
            line(d, command).fails(&["bad.json", words[0], words[1]]);
        }
    }
    assert!(!d.join("x.1bit").exists() && !d.join("x").exists());
}

/// A bare file of tensors, as other trainers write it.
#[test]
fn a_safetensors_file_is_searched_with_its_config() {
    let dir = place();
    let d = dir.path();
    let checkpoint = crate::common::newest(&d.join("run"));
    std::fs::copy(
        checkpoint.join("model.safetensors"),
        d.join("m.safetensors"),
    )
    .unwrap();
    let out = line(
        d,
        "search --checkpoint m.safetensors --model-config config.json --tokenizer tok.json --val-data tokens/b.tokens --max-size-mb 0.06 --max-evals 6 --device cpu --output r.json",
    );
    out.ok();
    assert_eq!(read(&d.join("r.json"))["satisfied"], true);
}

#[test]
fn random_modes_make_one_checkpoint_for_many_maps() {
    let dir = place();
    let d = dir.path();
    let train = "train --config config.json --data-dir tokens --tokenizer tok.json --device cpu --max-steps 300 --save-every 150 --keep-last 9";
    line(d, &format!("{train} --output-dir many --random-modes")).ok();
    line(d, &format!("{train} --output-dir one")).ok();
    let f16 = TERNARY.replace("ternary", "f16");
    let worst = |model: &str| {
        let modes = ["f16", "eightbit", "ternary", "binary"].iter();
        let perplexities = modes.map(|m| perplexity(d, model, &TERNARY.replace("ternary", m)));
        perplexities.fold(0.0, f64::max)
    };
    let (many, one) = (worst("many"), worst("one"));
    assert!(many < one, "{many} {one}");
    // Its F16 are its latents: not what its ternary codes stand for.
    let ratio = perplexity(d, "many", &f16) / perplexity(d, "many", TERNARY);
    assert!((ratio - 1.0).abs() > 0.005, "{ratio}");
    // Resumed as if it had never stopped.
    copy_dir(&d.join("many"), &d.join("parts"));
    std::fs::remove_dir_all(d.join("parts/step-0000300")).unwrap();
    line(
        d,
        &format!("{train} --output-dir parts --random-modes --resume"),
    )
    .ok();
    let weights =
        |run: &str| std::fs::read(d.join(run).join("step-0000300/model.safetensors")).unwrap();
    assert!(weights("many") == weights("parts"));
    line(
        d,
        &format!("{train} --output-dir x --random-modes=f16,int4"),
    )
    .fails(&["int4"]);
}
