//! The `onebit` binary as a user runs it, in temporary folders, on texts made here.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests; not every test program uses all of them"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// What a finished command said.
#[derive(Debug)]
pub struct Output {
    pub args: String,
    pub success: bool,
    /// None after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Ended well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(
            self.success,
            "`onebit {}` failed:\n{}",
            self.args, self.stderr
        );
        self
    }

    /// Ended with an error whose text has all of `words`.
    #[track_caller]
    pub fn fails(self, words: &[&str]) -> Self {
        assert!(!self.success, "`onebit {}` did not fail", self.args);
        for word in words {
            assert!(
                self.stderr.contains(word),
                "`onebit {}`: no `{word}` in\n{}",
                self.args,
                self.stderr
            );
        }
        self
    }

    /// What `--json` printed, whose keys are all in snake_case.
    #[track_caller]
    pub fn json(&self) -> Value {
        let value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("`onebit {}`: {e} in\n{}", self.args, self.stdout));
        if let Some(key) = odd_key(&value) {
            panic!(
                "`onebit {}`: the key {key:?} is not in snake_case",
                self.args
            );
        }
        value
    }
}

/// A key that is not in snake_case. Names of tasks and of layouts are what users call them.
pub fn odd_key(value: &Value) -> Option<String> {
    let snake = |key: &str| {
        key.starts_with(|c: char| c.is_ascii_lowercase())
            && !key.contains(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
    };
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| match key.as_str() {
            _ if !snake(key) => Some(key.clone()),
            "layouts" => None,
            "results" => value.as_object()?.values().find_map(odd_key),
            _ => odd_key(value),
        }),
        Value::Array(values) => values.iter().find_map(odd_key),
        _ => None,
    }
}

/// The command with `args`, run inside `dir`.
fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onebit"));
    command
        .args(args)
        .current_dir(dir)
        .env_remove("RUST_LOG")
        .env_remove("RUST_BACKTRACE")
        .env_remove("HF_TOKEN")
        .env_remove("HF_ENDPOINT");
    // Servers of tests run on this machine.
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    command
}

fn finish(child: Child, args: &[&str]) -> Output {
    let out = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let out = Output {
        args: args.join(" "),
        success: out.status.success(),
        code: out.status.code(),
        stdout: text(&out.stdout),
        stderr: text(&out.stderr),
    };
    assert!(!out.stderr.contains("panicked at"), "{out:?}");
    out
}

pub fn start(dir: &Path, args: &[&str]) -> Child {
    command(dir, args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Wait for a command begun with [`start`].
pub fn end(child: Child) -> Output {
    finish(child, &["(started before)"])
}

pub fn run(dir: &Path, args: &[&str]) -> Output {
    finish(start(dir, args), args)
}

/// As [`run`], with environment variables.
pub fn run_with(dir: &Path, args: &[&str], env: [(&str, &str); 2]) -> Output {
    let mut command = command(dir, args);
    command
        .envs(env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    finish(command.spawn().unwrap(), args)
}

/// A command line cut at white space.
pub fn line(dir: &Path, args: &str) -> Output {
    run(dir, &args.split_whitespace().collect::<Vec<_>>())
}

/// As [`run`], with `input` typed.
pub fn typed(dir: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut child = command(dir, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that ends without reading closes the pipe; that is its right.
    let _ = child.stdin.take().unwrap().write_all(input);
    finish(child, args)
}

/// Sentences made by rules: easy to learn, the same for the same seed.
pub fn sentences(bytes: usize, seed: u64) -> String {
    const WHO: [&str; 8] = [
        "cat", "farmer", "old man", "child", "sailor", "baker", "queen", "fox",
    ];
    const DID: [[&str; 2]; 6] = [
        ["saw", "a bird"],
        ["baked", "some bread"],
        ["found", "the key"],
        ["carried", "a basket"],
        ["drew", "a map"],
        ["told", "the story"],
    ];
    const WHERE: [&str; 6] = [
        "in the garden",
        "by the river",
        "at home",
        "on the hill",
        "near the old mill",
        "under a tree",
    ];
    let mut state = seed;
    let mut pick = |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut text = String::new();
    while text.len() < bytes {
        let [verb, what] = DID[pick(DID.len())];
        let (who, place) = (WHO[pick(WHO.len())], WHERE[pick(WHERE.len())]);
        text += &match pick(3) {
            0 => format!("The {who} {verb} {what} {place}."),
            1 => format!("Then the {who} {verb} {what}."),
            _ => format!("One day, {place}, the {who} {verb} {what}."),
        };
        text += if pick(5) == 0 { "\n" } else { " " };
    }
    text
}

/// A small model: every part of the decoder is there, grouped key/value heads and ragged matrices
/// included.
pub const CONFIG: &str = r#"{
  "hidden_size": 48, "num_heads": 4, "num_kv_heads": 2, "num_layers": 2, "intermediate_size": 80,
  "max_seq_len": 64, "use_swiglu": true, "use_rope": true, "use_residual_scaling": false,
  "use_dynamic_threshold": false, "weight_scale": "tensor", "anneal_fraction": 0.0,
  "training": { "lr": 1e-2, "lr_warmup_steps": 5, "max_steps": 60, "batch_size": 8, "save_every": 0,
    "log_every": 10, "eval_every": 20, "eval_batches": 2 }
}"#;

/// A chat template over the special tokens of tokenizers trained by `onebit tokenize`.
pub const TEMPLATE: &str = include_str!("../../../config/chat_template.jinja");

/// Made once per test program: `corpus/{a,b}.txt`, `valid.txt`, `tok.json` (300 tokens),
/// `tokens/{a,b}.tokens`, `config.json`, `run/` (a checkpoint folder after a short training with
/// validation) and its export `model.1bit`.
pub fn fixture() -> &'static Path {
    static FIXTURE: OnceLock<PathBuf> = OnceLock::new();
    FIXTURE
        .get_or_init(|| {
            // Statics are never dropped: a folder that the next run of this program replaces.
            let program = std::env::current_exe().unwrap();
            let temp = Path::new(env!("CARGO_TARGET_TMPDIR")).join(program.file_stem().unwrap());
            let dir = temp.as_path();
            if dir.exists() {
                std::fs::remove_dir_all(dir).unwrap();
            }
            std::fs::create_dir_all(dir).unwrap();
            std::fs::create_dir(dir.join("corpus")).unwrap();
            std::fs::write(dir.join("corpus/a.txt"), sentences(200_000, 1)).unwrap();
            std::fs::write(dir.join("corpus/b.txt"), sentences(100_000, 2)).unwrap();
            std::fs::write(dir.join("valid.txt"), sentences(6_000, 3)).unwrap();
            std::fs::write(dir.join("config.json"), CONFIG).unwrap();
            std::fs::write(dir.join("chat.jinja"), TEMPLATE).unwrap();
            line(
                dir,
                "tokenize --data-dir corpus --tokenizer tok.json --train-vocab 300 --out-dir tokens --seq-len 32",
            )
            .ok();
            line(
                dir,
                "train --config config.json --data-dir tokens --tokenizer tok.json --output-dir run \
                 --val-data-dir valid.txt --chat-template chat.jinja --device cpu",
            )
            .ok();
            line(dir, "export --model-dir run --output model.1bit --name Tiny").ok();
            temp
        })
}

/// An empty folder with the fixture's inputs, for tests that write.
pub fn workplace() -> TempDir {
    let temp = TempDir::new().unwrap();
    for name in ["config.json", "tok.json", "valid.txt", "chat.jinja"] {
        std::fs::copy(fixture().join(name), temp.path().join(name)).unwrap();
    }
    std::fs::create_dir(temp.path().join("tokens")).unwrap();
    std::fs::copy(
        fixture().join("tokens/b.tokens"),
        temp.path().join("tokens/b.tokens"),
    )
    .unwrap();
    temp
}

pub fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(name)
}

/// The newest checkpoint inside `dir`.
pub fn newest(dir: &Path) -> PathBuf {
    steps(dir).pop().unwrap()
}

/// Checkpoint folders inside `dir`, oldest first.
pub fn steps(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| {
            p.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("step-")
        })
        .collect();
    all.sort();
    all
}

/// The lines of a run's `metrics.jsonl`.
pub fn metrics(run: &Path) -> Vec<Value> {
    std::fs::read_to_string(run.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}")))
        .collect()
}

/// `train_state.json` of a checkpoint.
pub fn state(checkpoint: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(checkpoint.join("train_state.json")).unwrap())
        .unwrap()
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy_dir(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}
