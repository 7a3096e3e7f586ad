//! Files of other programs read here, and ours read there. Each test needs a Python with their
//! packages (`ONEBIT_PYTHON`, by default `python3`) and says so where it is missing.

use std::path::Path;
use std::process::Command;

use safetensors::SafeTensors;

use crate::common::{line, run};

const PROMPT: &str = "1,2,3,4,5,77,200";
const VOCAB: usize = 300;
/// Greedy tokens compared.
const TOKENS: usize = 12;
/// Share of the logits' deviation by which another token may come first there: llama.cpp rounds
/// activations in blocks of 32 or 256.
const NEAR_TIE: f32 = 0.15;

fn python() -> String {
    std::env::var("ONEBIT_PYTHON").unwrap_or_else(|_| "python3".into())
}

/// Whether Python has the packages; says so if not.
fn has(packages: &str) -> bool {
    let out = Command::new(python())
        .args(["-c", &format!("import {packages}")])
        .output();
    let there = out.is_ok_and(|o| o.status.success());
    if !there {
        eprintln!(
            "SKIPPED: {} has no {packages}; set ONEBIT_PYTHON to one that has",
            python()
        );
    }
    there
}

fn script(dir: &Path, name: &str, args: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python")
        .join(name);
    let out = Command::new(python())
        .arg(path)
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

/// llama.cpp's greedy tokens after the prompt.
fn llama(dir: &Path, model: &str) -> Vec<u32> {
    let out = script(
        dir,
        "llama_greedy.py",
        &[model, PROMPT, &TOKENS.to_string()],
    );
    let last = out.lines().rfind(|l| l.starts_with('[')).unwrap();
    serde_json::from_str(last).unwrap()
}

fn read_logits(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data = file.tensor("logits").unwrap().data().to_vec();
    data.as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect()
}

/// Our logits of the prompt and `more`.
fn logits(dir: &Path, model: &str, more: &[u32]) -> Vec<f32> {
    let ids = more
        .iter()
        .fold(PROMPT.to_owned(), |ids, id| format!("{ids},{id}"));
    let args = [
        "logits",
        "--model",
        model,
        "--ids",
        &ids,
        "--output",
        "logits.safetensors",
        "--device",
        "cpu",
    ];
    run(dir, &args).ok();
    read_logits(&dir.join("logits.safetensors"))
}

/// Each of their tokens must come first here too, or almost.
fn agree(dir: &Path, model: &str, theirs: &[u32]) {
    assert_eq!(theirs.len(), TOKENS);
    let all = logits(dir, model, theirs);
    let rows: Vec<&[f32]> = all.chunks_exact(VOCAB).collect();
    let prompt = PROMPT.split(',').count();
    let mut same = 0;
    for (row, id) in rows[prompt - 1..].iter().zip(theirs) {
        let most = row.iter().fold(f32::MIN, |m, v| m.max(*v));
        let mean = row.iter().sum::<f32>() / VOCAB as f32;
        let deviation = (row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / VOCAB as f32).sqrt();
        let behind = (most - row[*id as usize]) / deviation;
        assert!(
            behind <= NEAR_TIE,
            "{model}: token {id} is {behind} deviations behind"
        );
        same += usize::from(behind == 0.0);
    }
    eprintln!("{model}: {same} of {TOKENS} tokens the same, the others near-ties");
    assert!(same * 3 >= TOKENS * 2);
}

#[test]
fn files_of_the_gguf_package_give_llama_cpps_tokens() {
    if !has("gguf, xllamacpp") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for architecture in ["llama", "bitnet", "qwen3"] {
        for kind in ["tq2_0", "tq1_0", "q8_0", "f16"] {
            let name = format!("{architecture}-{kind}");
            script(
                d,
                "make_gguf.py",
                &[&format!("{name}.gguf"), architecture, kind],
            );
            line(
                d,
                &format!("import --input {name}.gguf --output {name}.1bit"),
            )
            .ok();
            let theirs = llama(d, &format!("{name}.gguf"));
            agree(d, &format!("{name}.1bit"), &theirs);
            // And our file of it there.
            let back = if kind == "tq1_0" {
                "--gguf-type tq1_0"
            } else {
                ""
            };
            line(
                d,
                &format!(
                    "export --model {name}.1bit --format gguf --output {name}-back.gguf {back}"
                ),
            )
            .ok();
            let again = llama(d, &format!("{name}-back.gguf"));
            if kind == "q8_0" {
                // It is F16 by now, which llama.cpp multiplies otherwise.
                agree(d, &format!("{name}.1bit"), &again);
            } else {
                assert_eq!(again, theirs, "{name}");
            }
        }
    }
}

#[test]
fn our_folders_give_the_same_logits_in_transformers() {
    if !has("torch, transformers") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/hf");
    for name in ["bitnet-packed", "llama-packed-inverse-scale"] {
        let input = fixtures.join(name).display().to_string();
        run(d, &["import", "--input", &input, "--output", "m.1bit"]).ok();
        line(
            d,
            &format!("export --model m.1bit --format hf --output {name}"),
        )
        .ok();
        script(
            d,
            "transformers_logits.py",
            &[name, PROMPT, "theirs.safetensors"],
        );
        let theirs = read_logits(&d.join("theirs.safetensors"));
        let ours = logits(d, "m.1bit", &[]);
        let square = |v: f32| f64::from(v) * f64::from(v);
        let size: f64 = theirs.iter().map(|v| square(*v)).sum();
        let error: f64 = ours.iter().zip(&theirs).map(|(a, b)| square(a - b)).sum();
        assert_eq!(ours.len(), theirs.len());
        assert!(
            size > 1.0 && (error / size).sqrt() < 2e-3,
            "{name}: {}",
            (error / size).sqrt()
        );
    }
}
