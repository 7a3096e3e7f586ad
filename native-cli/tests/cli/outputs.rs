//! What is written never replaces what is read, and nothing is called a model that is none.

use std::fs;
use std::path::Path;

use crate::common::{fixture, line, newest, workplace};

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copied(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn files_that_are_no_1bit_are_not_exported_as_one() {
    let dir = workplace();
    let d = dir.path();
    let model = fs::read(fixture().join("model.1bit")).unwrap();
    fs::write(d.join("junk.bin"), b"12345").unwrap();
    fs::write(d.join("empty.1bit"), b"").unwrap();
    fs::write(d.join("short.1bit"), &model[..model.len() / 2]).unwrap();
    let mut damaged = model.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(d.join("damaged.1bit"), damaged).unwrap();
    fs::write(d.join("good.1bit"), &model).unwrap();
    line(
        d,
        "export --model-dir good.1bit --format gguf --output m.gguf",
    )
    .ok();
    for name in [
        "junk.bin",
        "empty.1bit",
        "short.1bit",
        "damaged.1bit",
        "m.gguf",
        "valid.txt",
    ] {
        line(d, &format!("export --model-dir {name} --output out.1bit")).fails(&[name]);
        assert!(!d.join("out.1bit").exists(), "{name}");
    }
    line(d, "export --model-dir good.1bit --output out.1bit").ok();
    assert_eq!(fs::read(d.join("out.1bit")).unwrap(), model);
}

#[test]
fn what_a_folder_is_read_from_is_not_replaced() {
    let dir = workplace();
    let d = dir.path();
    fs::copy(fixture().join("model.1bit"), d.join("m.1bit")).unwrap();
    line(d, "export --model-dir m.1bit --format hf --output hf").ok();
    copied(&fixture().join("run"), &d.join("run"));
    let checkpoint = newest(&d.join("run"));
    let step = checkpoint.strip_prefix(d).unwrap().display().to_string();
    let before = |folder: &str| {
        let mut files = Vec::new();
        for entry in fs::read_dir(d.join(folder)).unwrap().flatten() {
            if entry.path().is_file() {
                files.push((entry.path(), fs::read(entry.path()).unwrap()));
            }
        }
        files.sort();
        files
    };
    let folders = ["hf", "run", &step];
    let all = folders.map(before);
    for command in [
        "import --input hf --output hf/model.safetensors".to_owned(),
        "import --input hf --output hf/config.json".to_owned(),
        "import --input ./hf --output hf/tokenizer.json".to_owned(),
        format!("export --model-dir {step} --output {step}/model.safetensors"),
        "export --model-dir run --output run/config.json".to_owned(),
        format!("export --model-dir {step} --format hf --output {step}"),
        "export --model-dir run --format hf --output run".to_owned(),
        "export --model-dir m.1bit --format hf --output run".to_owned(),
        format!("logits --model {step} --ids 1 --device cpu --output {step}/model.safetensors"),
        format!(
            "search --checkpoint {step} --val-data valid.txt --min-perplexity-max 9999 --max-evals 2 \
             --device cpu --output {step}/config.json"
        ),
    ] {
        line(d, &command).fails(&["--output"]);
        assert!(folders.map(before) == all, "{command} changed something");
    }
    // Beside what is read, and again over its own result, it goes on.
    for _ in 0..2 {
        line(d, "export --model-dir run --output run/model.1bit").ok();
        line(d, "import --input hf --output hf/back.1bit").ok();
    }
}

#[test]
fn a_tokenizer_may_lie_beside_its_texts() {
    let dir = workplace();
    let d = dir.path();
    fs::create_dir(d.join("texts")).unwrap();
    fs::copy(d.join("valid.txt"), d.join("texts/a.txt")).unwrap();
    let made = "tokenize --data-dir texts --tokenizer texts/tokenizer.json --train-vocab 270";
    for _ in 0..2 {
        line(d, &format!("{made} --output t.tokens")).ok();
    }
    let text = fs::read(d.join("texts/a.txt")).unwrap();
    line(d, &format!("{made} --output texts/a.txt")).fails(&["--output", "also what is read"]);
    assert_eq!(fs::read(d.join("texts/a.txt")).unwrap(), text);
}

#[test]
fn flags_that_would_change_nothing_are_refused() {
    let dir = workplace();
    let d = dir.path();
    fs::copy(fixture().join("model.1bit"), d.join("m.1bit")).unwrap();
    for flag in ["--lora-rank 4", "--lora-alpha 8", "--lora-targets q"] {
        let name = flag.split(' ').next().unwrap();
        line(
            d,
            &format!("finetune --model m.1bit --data-dir valid.txt --output-dir out --device cpu --max-steps 1 {flag}"),
        )
        .fails(&[name, "--mode lora"]);
    }
    line(
        d,
        "eval --model m.1bit --data valid.txt --limit 1 --device cpu",
    )
    .fails(&["--limit"]);
    let levels = line(d, "bench --simd-levels --json").ok();
    let levels: Vec<String> = serde_json::from_str(&levels.stdout).unwrap();
    assert_eq!(levels.last().map(String::as_str), Some("portable"));
}
