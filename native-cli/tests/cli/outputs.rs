//! What is written never replaces what is read, and nothing is called a model that is none.

use std::fs;
use std::path::Path;

use crate::common::{fixture, line, newest, odd_key, sentences, workplace};

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

/// A name says what a file is: one of another kind is no surprise for later.
#[test]
fn names_promise_what_is_written() {
    let dir = workplace();
    let d = dir.path();
    fs::copy(fixture().join("model.1bit"), d.join("m.1bit")).unwrap();
    fs::create_dir(d.join("kept.txt")).unwrap();
    copied(&fixture().join("run"), &d.join("run"));
    line(d, "export --model m.1bit --output inferred.gguf").ok();
    let inferred = fs::read(d.join("inferred.gguf")).unwrap();
    assert_eq!(inferred[..4], *b"GGUF");
    line(d, "export --model m.1bit --format hf --output hf").ok();
    for (command, wanted) in [
        (
            "export --model m.1bit --output x.h",
            "x.1bit --emit-c-header",
        ),
        (
            "export --model m.1bit --output x.h --emit-c-header",
            "x.1bit",
        ),
        (
            "export --model m.1bit --output x.safetensors",
            "end it in .1bit",
        ),
        (
            "export --model m.1bit --format 1bit --output x.gguf",
            "end it in .1bit",
        ),
        (
            "export --model m.1bit --format gguf --output x.1bit",
            "end it in .gguf",
        ),
        (
            "export --model m.1bit --format hf --output x.GGUF",
            "a folder is written",
        ),
        (
            "export --model m.1bit --gguf-type tq1_0 --output x.1bit",
            "--format gguf",
        ),
        ("import --input hf --output x.gguf", "end it in .1bit"),
        (
            "logits --model m.1bit --ids 1,2 --output x.json",
            "end it in .safetensors",
        ),
        (
            "tokenize --data-dir valid.txt --tokenizer tok.json --output x.txt",
            "end it in .tokens",
        ),
        (
            "train --config config.json --data-dir valid.txt --tokenizer tok.json --output-dir x.1bit",
            "onebit export",
        ),
        (
            "finetune --model m.1bit --data-dir valid.txt --output-dir x.1bit",
            "onebit export",
        ),
        (
            "convert --model run --data valid.txt --output x.1bit",
            "a folder is written",
        ),
    ] {
        line(d, command).fails(&[wanted]);
        let made = fs::read_dir(d).unwrap().flatten();
        let made: Vec<_> = made
            .map(|entry| entry.file_name())
            .filter(|name| name.to_string_lossy().starts_with("x."))
            .collect();
        assert!(made.is_empty(), "{command} left {made:?}");
    }
    // An ending that says nothing is as good as any.
    line(d, "export --model m.1bit --output model.v2").ok();
}

/// The keys of everything that `--json` prints are spelled alike.
#[test]
fn every_json_has_keys_in_snake_case() {
    let dir = workplace();
    let d = dir.path();
    let odd = serde_json::json!({"fine": [{"results": {"A b": {"sourceBytes": 1}}}]});
    assert_eq!(odd_key(&odd).as_deref(), Some("sourceBytes"));
    fs::copy(fixture().join("model.1bit"), d.join("m.1bit")).unwrap();
    copied(&fixture().join("run"), &d.join("run"));
    fs::write(d.join("new.txt"), sentences(6_000, 9)).unwrap();
    fs::write(
        d.join("pick.jsonl"),
        r#"{"question": "Who?", "choices": ["the cat", "a dog"], "answer": 0}"#,
    )
    .unwrap();
    line(
        d,
        "finetune --model m.1bit --data-dir new.txt --output-dir lora --mode lora --device cpu --max-steps 2 --batch-size 2",
    )
    .ok();
    line(d, "export --model-dir m.1bit --format gguf --output i.gguf").ok();
    let commands = [
        "import --input i.gguf --output i.1bit --measure valid.txt",
        "export --model-dir m.1bit --output e.1bit --emit-c-header",
        "export --model-dir m.1bit --output e.gguf",
        "export --model-dir m.1bit --format hf --output e",
        "inspect m.1bit",
        "inspect tokens/b.tokens --verify",
        "eval --model m.1bit --data valid.txt --device cpu",
        "eval --model m.1bit --tasks pick.jsonl --device cpu",
        "data valid.txt --model m.1bit",
        "template --model m.1bit --user Hi --chat-template chat.jinja",
        "generate --model m.1bit --prompt T --max-tokens 8 --device cpu",
        "generate --model m.1bit --prompt T --max-tokens 8 --device cpu --draft lookup",
        "merge --model m.1bit --adapter lora --output merged.1bit --device cpu --data valid.txt",
        "search --checkpoint run --val-data valid.txt --max-size-mb 1 --max-evals 3 --output r.json --device cpu",
        "eval-config --model-dir run --bit-map r.json --val-data valid.txt --device cpu",
        "bench --model m.1bit --tokens 2 --repeat 1 --prefill 4 --context 0 --threads 1 --device cpu",
        "bench --model m.1bit --tokens 4 --repeat 1 --prefill 4 --parallel 1 --device cpu",
        "bench --gemm 64 --repeat 1 --device cpu",
        "bench --train small --repeat 1 --device cpu",
        "bench --simd-levels",
    ];
    for command in commands {
        line(d, &format!("{command} --json")).ok().json();
    }
    // What else has the flag is looked at where it is tested.
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands");
    let mut with_json = 0;
    for page in fs::read_dir(pages).unwrap() {
        let page = page.unwrap().path();
        let name = page.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&page).unwrap();
        if !text.contains("`--json`") {
            continue;
        }
        with_json += 1;
        let own = format!("{name} ");
        assert!(
            name == "convert" || commands.iter().any(|command| command.starts_with(&own)),
            "{name} has --json, too; run it above"
        );
    }
    assert!(with_json >= 11, "{with_json} commands have --json");
}
