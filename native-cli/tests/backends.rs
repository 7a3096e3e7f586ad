//! The same text on the CPU and on the GPU: greedy decoding of the built binary with `--device cpu` and `--device gpu`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};

use common::{fixture, run};
use ternary_core::tokenizer::Tokenizer;

const PROMPTS: [&str; 5] = [
    "The cat",
    "One day, by the river, the queen",
    "Then the old man",
    "Once upon a time there was",
    "in the garden",
];
const TOKENS: &str = "64";

/// Where the texts part, the two candidates' logits may differ by no more than this, and the backends' logits of the same
/// context from each other by no more than this. Both sum float products of F16 weights in different orders and quantise activations
/// to int8 after it, where the last bit of a float can move a code by one: 1/127 of a row's largest activation.
const NEAR_TIE: f32 = 0.05;

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

/// Logits after the last of `ids`.
fn last_logits(model: &Path, device: &str, ids: &[u32]) -> Vec<f32> {
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
    let all: Vec<f32> = view
        .data()
        .chunks(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    all[all.len() - view.shape()[1]..].to_vec()
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

/// Equal texts, or a near-tie at the first difference, told on standard error. Returns whether the texts were equal, and the
/// largest difference of the logits after their common part.
fn compare(model: &Path, tokenizer: &Tokenizer, prompt: &str) -> (bool, f32) {
    let (cpu, gpu) = (greedy(model, "cpu", prompt), greedy(model, "gpu", prompt));
    let common = cpu
        .char_indices()
        .zip(gpu.chars())
        .find(|((_, a), b)| a != b)
        .map_or(cpu.len().min(gpu.len()), |((i, _), _)| i);
    let context = format!("{prompt}{}", &cpu[..common]);
    let ids = tokenizer.encode(&context).unwrap();
    let (a, b) = (
        last_logits(model, "cpu", &ids),
        last_logits(model, "gpu", &ids),
    );
    let worst = largest_difference(&a, &b);
    assert!(
        worst <= NEAR_TIE,
        "{}: after {context:?} the logits differ by {worst}",
        model.display()
    );
    if cpu == gpu {
        return (true, worst);
    }
    let (i, j) = (argmax(&a), argmax(&b));
    let gap = (a[i] - a[j]).abs().max((b[i] - b[j]).abs());
    eprintln!(
        "NEAR-TIE: {} after {context:?}: token {i} on the CPU, {j} on the GPU; they are {gap} apart, the backends {worst}",
        model.display()
    );
    assert!(
        i != j && gap <= NEAR_TIE,
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
        let source = ternary_core::platform::FileSource::open(&model).unwrap();
        let file = pollster::block_on(ternary_core::format::OneBit::open(&source)).unwrap();
        let tokenizer = Tokenizer::from_json(&file.metadata.tokenizer.unwrap()).unwrap();
        check(&model, &tokenizer);
    }
}

#[test]
fn a_comparison_can_fail() {
    assert!(largest_difference(&[1.0, 2.0], &[1.0, 2.2]) > NEAR_TIE);
    assert!(std::panic::catch_unwind(|| largest_difference(&[], &[])).is_err());
    assert!(std::panic::catch_unwind(|| largest_difference(&[1.0], &[1.0, 2.0])).is_err());
    assert!(std::panic::catch_unwind(|| largest_difference(&[f32::NAN], &[1.0])).is_err());
}
