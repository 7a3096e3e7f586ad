//! `onebit import`: folders, files, a hub; and what it leaves behind when it fails.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

use crate::common::{Output, line, run, run_with, typed};
use crate::download::server::{Answer, Server};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/hf")
}

fn import(dir: &Path, input: &Path, more: &[&str]) -> Output {
    let input = input.display().to_string();
    run(
        dir,
        &[&["import", "--input", &input, "--output", "m.1bit"], more].concat(),
    )
}

/// A copy of a fixture that a test may change.
fn copy(dir: &Path, name: &str) -> PathBuf {
    let to = dir.join(name);
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(fixtures().join(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    // Its reference logits are no part of the model.
    std::fs::remove_file(to.join("expected.safetensors")).unwrap();
    std::fs::remove_file(to.join("expected_f16.safetensors")).unwrap();
    to
}

/// A byte-level tokenizer of the fixtures' vocabulary, with a chat template.
fn add_tokenizer(dir: &Path, model: &Path) {
    std::fs::write(dir.join("text.txt"), "the cat sat on the mat. ".repeat(40)).unwrap();
    line(
        dir,
        "tokenize --data-dir text.txt --tokenizer tok.json --train-vocab 300 --output t.tokens",
    )
    .ok();
    std::fs::rename(dir.join("tok.json"), model.join("tokenizer.json")).unwrap();
    let template = "{{ bos_token }}{% for m in messages %}{{ m['content'].strip() }}{% endfor %}";
    let settings =
        serde_json::json!({"chat_template": template, "bos_token": {"content": "<|user|>"}});
    std::fs::write(model.join("tokenizer_config.json"), settings.to_string()).unwrap();
}

#[test]
fn a_folder_becomes_a_model_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let model = copy(d, "bitnet-packed");
    add_tokenizer(d, &model);
    let out = import(d, &model, &["--json"]).ok().json();
    assert_eq!(out["architecture"], "bitnet");
    assert_eq!(out["config"]["use_sub_norm"], true);
    assert_eq!(out["bytes"], d.join("m.1bit").metadata().unwrap().len());
    line(
        d,
        "logits --model m.1bit --ids 1,2,3 --output logits.safetensors --device cpu",
    )
    .ok();
    line(
        d,
        "generate --model m.1bit --prompt the --max-tokens 4 --device cpu",
    )
    .ok();
    line(d, "inspect m.1bit").ok();
    let chat = [
        "chat",
        "--model",
        "m.1bit",
        "--device",
        "cpu",
        "--max-tokens",
        "3",
    ];
    typed(d, &chat, b"the cat\n/exit\n").ok();
    // The single file finds its configuration beside it.
    let file = model.join("model.safetensors");
    let first = std::fs::read(d.join("m.1bit")).unwrap();
    import(d, &file, &[]).ok();
    assert!(std::fs::read(d.join("m.1bit")).unwrap() == first);
    import(d, &file, &["--name", "Cat on a Mat"]).ok();
    let told = line(d, "inspect m.1bit").ok().stdout;
    assert!(told.contains("Cat on a Mat"), "{told}");
}

#[test]
fn what_a_precision_costs_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let model = d.join("qwen2");
    std::fs::create_dir(&model).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(fixtures().join("../zoo/qwen2").join(name), model.join(name)).unwrap();
    }
    let words = ["the", "cat", "sat", "on", "mat", "."];
    let vocab: serde_json::Map<_, _> = (["<unk>"].iter().chain(&words).enumerate())
        .map(|(id, word)| (word.to_string(), id.into()))
        .collect();
    let tokenizer = serde_json::json!({
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
        "pre_tokenizer": {"type": "Whitespace"},
    });
    std::fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(d.join("text.txt"), "the cat sat on the mat. ".repeat(40)).unwrap();
    let measured = |more: &[&str]| {
        let args = [&["--measure", "text.txt", "--json"], more].concat();
        import(d, &model, &args).ok().json()["measured"].clone()
    };
    let figure = |found: &serde_json::Value, name: &str| found[name].as_f64().unwrap();
    let exact = measured(&["--head", "f32", "--body", "f32"]);
    assert_eq!(figure(&exact, "logits_error"), 0.0);
    assert_eq!(figure(&exact, "same_token"), 1.0);
    assert_eq!(exact["perplexity"], exact["reference_perplexity"]);
    let rounded = measured(&[]);
    assert!(figure(&rounded, "tokens") > 100.0);
    assert_eq!(rounded["reference_perplexity"], exact["perplexity"]);
    let error = figure(&rounded, "logits_error");
    assert!((1e-4..0.1).contains(&error), "{error}");
    // The model is what stays; the other import goes.
    let left = std::fs::read_dir(d)
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let drafts = left.filter(|name| name.to_string_lossy().starts_with('.'));
    assert_eq!(drafts.count(), 0);
    import(d, &model, &["--measure", "nowhere.txt"]).fails(&["nowhere.txt"]);
}

#[test]
fn a_failure_leaves_the_old_file_and_no_draft() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let model = copy(d, "bitnet-packed");
    std::fs::write(d.join("m.1bit"), "what was here").unwrap();
    let path = model.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1000]).unwrap();
    import(d, &model, &[]).fails(&["model.safetensors", "the file has"]);
    std::fs::write(&path, &bytes).unwrap();
    import(d, &model, &["--context", "9999"]).fails(&["9999", "256"]);
    import(d, &model, &["--bit-map", "nowhere.json"]).fails(&["nowhere.json"]);
    import(d, &d.join("nothing"), &[]).fails(&["nothing", "hf:OWNER/NAME"]);
    std::fs::write(d.join("m.gguf"), b"GGUF\x01\0\0\0").unwrap();
    import(d, &d.join("m.gguf"), &[]).fails(&["version 1", "2 and 3"]);
    std::fs::remove_file(model.join("config.json")).unwrap();
    import(d, &model, &[]).fails(&["config.json"]);
    assert_eq!(
        std::fs::read_to_string(d.join("m.1bit")).unwrap(),
        "what was here"
    );
    assert!(!d.join("m.1bit.part").exists());
}

#[test]
fn a_repository_is_fetched_and_an_interruption_continued() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let model = copy(d, "bitnet-packed");
    let files: HashMap<String, Vec<u8>> = std::fs::read_dir(&model)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (
                format!("/some/model/resolve/main/{name}"),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect();
    let server = Server::new(move |_, request| match files.get(&request.path) {
        None => Answer::status(404),
        Some(content) => {
            let head = format!("blob {}\0", content.len());
            let digest = Sha1::digest([head.as_bytes(), content].concat());
            let etag: String = digest.iter().map(|b| format!("{b:02x}")).collect();
            let mut answer = Answer::content(request, content, &etag);
            // Large files are cut off on their first way.
            if request.from().is_none() && content.len() > 100_000 {
                answer.drop_after = Some(50_000);
            }
            answer
        }
    });
    let args = "import --input hf:some/model --output m.1bit --retry-pause 5 --download-dir hub";
    let args: Vec<&str> = args.split(' ').collect();
    let env = [
        ("HF_ENDPOINT", server.address.as_str()),
        ("HF_TOKEN", "hf_secret"),
    ];
    run_with(d, &args, env).ok();
    assert!(
        server
            .asked()
            .iter()
            .all(|r| r.header("authorization").is_none()),
        "a token was sent over plain HTTP"
    );
    assert!(server.asked().iter().any(|r| r.from() == Some(50_000)));
    let hub = std::fs::read(d.join("m.1bit")).unwrap();
    import(d, &model, &[]).ok();
    assert!(std::fs::read(d.join("m.1bit")).unwrap() == hub);
    // What the hub does not have is told by its address.
    let missing =
        "import --input hf:other/model --output n.1bit --retry-pause 5 --download-dir hub2";
    let missing: Vec<&str> = missing.split(' ').collect();
    run_with(d, &missing, env).fails(&["other/model", "config.json", "404"]);
    let bad = ["import", "--input", "hf:model", "--output", "n.1bit"];
    run_with(d, &bad, env).fails(&["hf:OWNER/NAME"]);
}

#[test]
fn an_index_of_a_stranger_names_plain_files_only() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for name in [
        ".bashrc",
        "C:\\\\x.safetensors",
        "../x.safetensors",
        "a/.profile",
        "x.sh",
        "a\\u0007.safetensors",
    ] {
        let index = format!("{{\"weight_map\": {{\"a\": \"{name}\"}}}}");
        let server = Server::new(move |_, request| {
            let content = match request.path.rsplit('/').next() {
                Some("config.json") => "{}".as_bytes(),
                Some("model.safetensors.index.json") => index.as_bytes(),
                Some("tokenizer.json") => return Answer::status(404),
                _ if request.path.contains("json") || request.path.contains("jinja") => {
                    return Answer::status(404);
                }
                _ => "stolen".as_bytes(),
            };
            Answer::content(request, content, "x")
        });
        let command = format!(
            "import --input hf:some/model --output m.1bit --retry-pause 1 --download-dir hub/in --endpoint {}",
            server.address
        );
        let out = line(d, &command).fails(&["no name of a safetensors file"]);
        assert!(!out.stderr.contains('\u{7}'));
        let asked = server.asked();
        assert!(
            asked
                .iter()
                .filter(|r| !r.path.starts_with("/api/"))
                .all(|r| r.path.ends_with(".json") || r.path.ends_with(".jinja")),
            "{asked:?}"
        );
        assert!(!d.join("hub/in/.bashrc").exists() && !d.join("hub/x.safetensors").exists());
    }
}

/// What the hub's list of a repository's files looks like.
fn list(files: &[&str]) -> Vec<u8> {
    let files: Vec<_> = files
        .iter()
        .map(|name| serde_json::json!({"rfilename": name}))
        .collect();
    let list = serde_json::json!({"id": "some/model", "siblings": files});
    list.to_string().into_bytes()
}

#[test]
fn the_best_file_of_a_repository_is_taken_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let model = copy(d, "bitnet-packed");
    add_tokenizer(d, &model);
    import(d, &model, &[]).ok();
    line(d, "export --model m.1bit --format gguf --output m.gguf").ok();
    import(d, &d.join("m.gguf"), &[]).ok();
    let local = std::fs::read(d.join("m.1bit")).unwrap();
    let gguf = std::fs::read(d.join("m.gguf")).unwrap();
    let files = list(&[
        "README.md",
        "imatrix.gguf",
        "m-Q4_K_M.gguf",
        "low/m-I2_S.gguf",
        "mmproj-F16.gguf",
    ]);
    let server = Server::new(move |_, request| match request.path.as_str() {
        "/api/models/some/model/revision/v1" => Answer::content(request, &files, "x"),
        "/some/model/resolve/v1/low/m-I2_S.gguf" => Answer::content(request, &gguf, "y"),
        _ => Answer::status(404),
    });
    let command = |server: &Server, more: &str| {
        line(
            d,
            &format!(
                "import --input hf:some/model --output m.1bit --retry-pause 1 --download-dir hub --endpoint {}{more}",
                server.address
            ),
        )
    };
    let out = command(&server, " --revision v1 --json").ok();
    let told = "taking low/m-I2_S.gguf: one of 2 GGUF files";
    assert!(out.stderr.contains(told), "{}", out.stderr);
    let json = out.json();
    assert_eq!(json["chosen"]["file"], "low/m-I2_S.gguf");
    assert!(json["chosen"]["why"].as_str().unwrap().contains("ternary"));
    assert!(std::fs::read(d.join("m.1bit")).unwrap() == local);
    assert_eq!(server.asked().len(), 2);

    // Safetensors, unless there is a file of codes; of a split file all parts.
    let content = list(&["config.json", "model.safetensors", "m-Q8_0.gguf"]);
    let server = Server::new(move |n, request| match n {
        0 => Answer::content(request, &content, "x"),
        _ => Answer::status(404),
    });
    let out = command(&server, "").fails(&["config.json", "404"]);
    assert!(out.stderr.contains("taking safetensors"), "{}", out.stderr);
    let content = list(&["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"]);
    let server = Server::new(move |n, request| match n {
        0 => Answer::content(request, &content, "x"),
        _ => Answer::content(request, b"GGUF", "y"),
    });
    command(&server, "").fails(&["gguf"]);
    let asked: Vec<String> = server.asked().into_iter().map(|r| r.path).collect();
    for part in ["00001", "00002"] {
        let path = format!("/some/model/resolve/main/m-Q8_0-{part}-of-00002.gguf");
        assert!(asked.contains(&path), "{asked:?}");
    }

    let content = list(&["README.md", "pytorch_model.bin"]);
    let server = Server::new(move |_, request| Answer::content(request, &content, "x"));
    command(&server, "").fails(&["pytorch_model.bin", "save_pretrained"]);
}

#[test]
fn a_gated_repository_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (status, listed) in [(401, false), (401, true), (403, true)] {
        let server = Server::new(move |n, request| match n {
            0 if listed => {
                let files = list(&["config.json", "model.safetensors"]);
                Answer::content(request, &files, "x")
            }
            _ => Answer::status(status),
        });
        let command = format!(
            "import --input hf:some/model --output m.1bit --retry-pause 1 --download-dir hub --endpoint {}",
            server.address
        );
        line(d, &command).fails(&["HF_TOKEN", "terms", &status.to_string()]);
        assert!(!d.join("hub").exists());
    }
}
