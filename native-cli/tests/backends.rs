//! The same text on the CPU and on the GPU: greedy decoding of the built binary with `--device cpu`
//! and `--device gpu`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};

use common::{fixture, run, run_with};
use ternary::tokenizer::Tokenizer;

const PROMPTS: [&str; 5] = [
    "The cat",
    "One day, by the river, the queen",
    "Then the old man",
    "Once upon a time there was",
    "in the garden",
];
const TOKENS: &str = "64";

/// Logits may differ by this once an activation's int8 code has moved by one: both backends sum
/// floats in different orders before they round, so a value that lies between two codes may fall to
/// either side. Measured on a trained model of six layers, whose logits have a standard deviation
/// of 3.2: rows agree to 6e-6 until the first such code, then differ by 0.01 to 0.1.
const MOVED_CODE: f32 = 0.25;

/// At least one row of a context must agree to float rounding: moved codes are rare, a wrong kernel
/// is wrong everywhere.
const ROUNDING: f32 = 1e-4;

/// True when the GPU tests are switched off by name.
fn switched_off() -> bool {
    let off = std::env::var("ONEBIT_GPU_TESTS").is_ok_and(|v| v == "off");
    if off {
        eprintln!("SKIPPED: GPU tests are switched off by ONEBIT_GPU_TESTS=off");
    }
    off
}

/// Greedy text of each prompt.
fn greedy(model: &Path, device: &str, prompt: &str) -> String {
    let model = model.display().to_string();
    let out = run(
        fixture(),
        &[
            "generate",
            "--model",
            &model,
            "--device",
            device,
            "--prompt",
            prompt,
            "--temperature",
            "0",
            "--max-tokens",
            TOKENS,
            "--json",
        ],
    );
    assert!(
        out.success || device == "cpu",
        "--device gpu failed; install a Vulkan driver (a software one will do: apt-get install mesa-vulkan-drivers libvulkan1) \
         or switch these tests off with ONEBIT_GPU_TESTS=off:\n{}",
        out.stderr
    );
    let out = out.ok();
    assert!(
        out.stderr.contains(&format!("device: {device}")),
        "{}",
        out.stderr
    );
    out.json()["text"].as_str().unwrap().to_owned()
}

/// Logits after each of `ids`.
fn logits(model: &Path, device: &str, ids: &[u32]) -> Vec<Vec<f32>> {
    let model = model.display().to_string();
    let dir = tempfile::TempDir::new().unwrap();
    let ids_text: Vec<String> = ids.iter().map(u32::to_string).collect();
    let args = [
        "logits",
        "--model",
        &model,
        "--device",
        device,
        "--ids",
        &ids_text.join(","),
        "--output",
        "l",
    ];
    run(dir.path(), &args).ok();
    let bytes = std::fs::read(dir.path().join("l")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor("logits").unwrap();
    assert_eq!(view.shape()[0], ids.len());
    let row_bytes = 4 * view.shape()[1];
    view.data()
        .chunks(row_bytes)
        .map(|row| {
            row.chunks(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect()
        })
        .collect()
}

fn argmax(logits: &[f32]) -> usize {
    (0..logits.len())
        .max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a)))
        .unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert!(!a.is_empty() && a.len() == b.len());
    let worst = a
        .iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(a.iter().chain(b).all(|v| v.is_finite()));
    worst
}

/// Equal texts, or a near-tie at the first difference, told on standard error. Returns whether the
/// texts were equal, and the largest difference of the logits of their common part.
fn compare(model: &Path, tokenizer: &Tokenizer, prompt: &str) -> (bool, f32) {
    let (cpu, gpu) = (greedy(model, "cpu", prompt), greedy(model, "gpu", prompt));
    // Up to the first token that differs: two words may begin with the same space.
    let [ids, others] =
        [&cpu, &gpu].map(|text| tokenizer.encode(&format!("{prompt}{text}")).unwrap());
    let common = ids.iter().zip(&others).take_while(|(a, b)| a == b).count();
    let ids = &ids[..common];
    let context = tokenizer.decode(ids).unwrap();
    let (a, b) = (logits(model, "cpu", ids), logits(model, "gpu", ids));
    let differences: Vec<f32> = a
        .iter()
        .zip(&b)
        .map(|(a, b)| largest_difference(a, b))
        .collect();
    let worst = differences.iter().copied().fold(0.0, f32::max);
    let best = differences.iter().copied().fold(f32::INFINITY, f32::min);
    assert!(
        worst <= MOVED_CODE && best <= ROUNDING,
        "{}: in {context:?} the logits differ by {best} to {worst}",
        model.display()
    );
    let (a, b) = (a.last().unwrap(), b.last().unwrap());
    if cpu == gpu {
        return (true, worst);
    }
    let (i, j) = (argmax(a), argmax(b));
    let gap = (a[i] - a[j]).abs().max((b[i] - b[j]).abs());
    eprintln!(
        "NEAR-TIE: {} after {context:?}: token {i} on the CPU, {j} on the GPU; they are {gap} apart, the backends {worst}",
        model.display()
    );
    assert!(
        i != j && gap <= MOVED_CODE,
        "the texts differ without a tie:\n{cpu:?}\n{gpu:?}"
    );
    (false, worst)
}

fn check(model: &Path, tokenizer: &Tokenizer) {
    let results = PROMPTS.map(|prompt| compare(model, tokenizer, prompt));
    let equal = results.iter().filter(|(equal, _)| *equal).count();
    let worst = results.iter().map(|(_, worst)| *worst).fold(0.0, f32::max);
    eprintln!(
        "{}: {equal} of {} texts equal; logits differ by at most {worst:.1e}",
        model.display(),
        PROMPTS.len()
    );
    assert!(
        2 * equal > PROMPTS.len(),
        "ties are rare: {equal} equal texts of {} is too few",
        PROMPTS.len()
    );
}

#[test]
fn a_trained_model_says_the_same_on_both() {
    if switched_off() {
        return;
    }
    let json = std::fs::read_to_string(fixture().join("tok.json")).unwrap();
    check(
        &fixture().join("model.1bit"),
        &Tokenizer::from_json(&json).unwrap(),
    );
}

#[test]
fn the_shipped_models_say_the_same_on_both() {
    if switched_off() {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/models");
    let mut models: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "1bit"))
        .collect();
    models.sort();
    if models.is_empty() {
        eprintln!("SKIPPED: no .1bit file in web/models");
    }
    for model in models {
        let source = ternary::format::FileSource::open(&model).unwrap();
        let file = pollster::block_on(ternary::format::OneBit::open(&source)).unwrap();
        let tokenizer = Tokenizer::from_json(&file.metadata.tokenizer.unwrap()).unwrap();
        check(&model, &tokenizer);
    }
}

#[test]
fn a_comparison_can_fail() {
    assert!(largest_difference(&[1.0, 2.0], &[1.0, 2.5]) > MOVED_CODE);
    assert!(std::panic::catch_unwind(|| largest_difference(&[], &[])).is_err());
    assert!(std::panic::catch_unwind(|| largest_difference(&[1.0], &[1.0, 2.0])).is_err());
    assert!(std::panic::catch_unwind(|| largest_difference(&[f32::NAN], &[1.0])).is_err());
}

/// The loss of a bit-map on both, and a search on the GPU: its evaluator is another one than the
/// CPU's.
#[test]
fn bit_maps_score_the_same() {
    if switched_off() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let map = r#"{"embedding": "eightbit", "layer_modes": [{"q": "f16", "k": "binary", "v": "eightbit", "o": "ternary", "gate": "f16", "up": "binary", "down": "ternary"}, "eightbit"], "lm_head": "eightbit"}"#;
    std::fs::write(d.join("map.json"), map).unwrap();
    let text = std::fs::read_to_string(fixture().join("valid.txt")).unwrap();
    std::fs::write(d.join("valid.txt"), &text[..1500]).unwrap();
    let model = fixture().join("run").display().to_string();
    let judged = |device: &str, words: &[&str]| {
        let mut args = vec!["--checkpoint", &model, "--val-data", "valid.txt", "--json"];
        args.splice(0..0, words.iter().copied());
        args.extend(["--device", device]);
        run(d, &args).ok().json()
    };
    let loss = |device: &str| {
        let out = judged(device, &["eval-config", "--bit-map", "map.json"]);
        out["loss"].as_f64().unwrap()
    };
    let (cpu, gpu) = (loss("cpu"), loss("gpu"));
    // int8 codes of activations may fall to either side; a wrong weight moves the loss by far more.
    assert!((cpu - gpu).abs() < 5e-3, "{cpu} {gpu}");
    let search = |device: &str| {
        let output = format!("{device}.json");
        let flags = [
            "search",
            "--max-size-mb",
            "0.07",
            "--modes",
            "f16,ternary",
            "--output",
            &output,
        ];
        judged(device, &flags)
    };
    let (cpu, gpu) = (search("cpu"), search("gpu"));
    assert_eq!(cpu["layer_bit_map"], gpu["layer_bit_map"]);
    let perplexity = |r: &serde_json::Value| r["perplexity"].as_f64().unwrap();
    assert!((perplexity(&cpu) / perplexity(&gpu) - 1.0).abs() < 5e-3);
}

fn report(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap()
}

#[test]
fn the_suite_says_what_failed_and_keeps_what_it_found() {
    if switched_off() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let suite = ["bench", "--suite", "gpu", "--quick", "--output", "out"];
    let none = [("ONEBIT_GPU_FORMS", "warp"), ("ONEBIT_LOG", "")];
    run_with(dir.path(), &suite, none).fails(&["adapter", "`warp`", "workgroup-float"]);
    let out = dir.path().join("out");
    let found = report(&out);
    assert_eq!(found["complete"], false);
    assert!(found["failures"][0].as_str().unwrap().contains("`warp`"));
    let text = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert!(
        text.contains("Not all is well") && text.contains("`warp`"),
        "{text}"
    );
}

#[test]
fn the_suites_parts_compare_with_the_cpu() {
    if switched_off() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("out/parts")).unwrap();
    for part in ["adapter", "text", "training-steps"] {
        let args = [
            "bench", "--suite", "gpu", "--quick", "--output", "out", "--part", part,
        ];
        run(dir.path(), &args).ok();
    }
    let found = |part: &str| -> serde_json::Value {
        let file = dir.path().join(format!("out/parts/{part}.json"));
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    };
    assert!(
        !found("adapter")["adapter"]["forms"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let prompt = &found("text")["prompts"][0];
    assert_eq!(
        prompt["same"].as_u64().unwrap() + prompt["ties"].as_u64().unwrap(),
        16
    );
    let steps = found("training-steps");
    assert_eq!(steps["gpu"].as_array().unwrap().len(), 100);
    assert!(steps["apart"].as_f64().unwrap() <= 1e-3);
}
