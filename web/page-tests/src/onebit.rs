//! The native command line: makes the model the tests load, and writes the text the page's must equal.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::root;

/// A small model trained for a moment on one story: it writes words, and knows some of them by heart.
pub fn tiny_model() -> Result<&'static Path> {
    static MODEL: OnceLock<Result<PathBuf>> = OnceLock::new();
    MODEL
        .get_or_init(|| make_model("tiny", Some("config/chat_template.jinja")))
        .as_deref()
        .map_err(|error| anyhow::anyhow!("{error:#}"))
}

/// The same without a chat template.
pub fn plain_model() -> Result<PathBuf> {
    make_model("plain", None)
}

/// What `onebit generate` writes after `prompt`, greedily, on the CPU.
pub fn greedy(model: &Path, prompt: &str, tokens: usize) -> Result<String> {
    let output = Onebit::new("generate")?
        .with("--model", model)
        .with("--prompt", prompt)
        .with("--max-tokens", tokens.to_string())
        .with("--temperature", "0")
        .with("--device", "cpu")
        .flag("--json")
        .run()?;
    let answer: Value = serde_json::from_str(&output).context("onebit generate --json")?;
    let text = answer["text"].as_str().context("no text in the answer")?;
    Ok(text.to_owned())
}

fn make_model(name: &str, template: Option<&str>) -> Result<PathBuf> {
    let fixtures = root().join("web/page-tests/fixtures");
    let folder = root().join("target/page-tests").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let (tokenizer, tokens) = (folder.join("tokenizer.json"), folder.join("story.tokens"));
    let (run, model) = (folder.join("run"), folder.join("model.1bit"));
    Onebit::new("tokenize")?
        .with("--data-dir", fixtures.join("story.txt"))
        .with("--tokenizer", &tokenizer)
        .with("--train-vocab", "400")
        .with("--output", &tokens)
        .run()?;
    let mut training = Onebit::new("train")?
        .with("--config", fixtures.join("tiny.json"))
        .with("--data-dir", &tokens)
        .with("--tokenizer", &tokenizer)
        .with("--output-dir", &run);
    if let Some(template) = template {
        training = training.with("--chat-template", root().join(template));
    }
    training.run()?;
    Onebit::new("export")?
        .with("--model-dir", &run)
        .with("--output", &model)
        .with("--pack-mode", "ternary")
        .with("--name", "Tiny")
        .with(
            "--description",
            "A small model for the page's tests, trained for a moment on one story.",
        )
        .run()?;
    Ok(model)
}

/// One run of the command.
struct Onebit(Command);

impl Onebit {
    fn new(subcommand: &str) -> Result<Self> {
        let mut command = Command::new(find()?);
        command.arg(subcommand);
        Ok(Self(command))
    }

    fn flag(mut self, name: &str) -> Self {
        self.0.arg(name);
        self
    }

    fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.arg(name).arg(value);
        self
    }

    /// Runs it and gives what it prints.
    fn run(mut self) -> Result<String> {
        let output = self
            .0
            .output()
            .with_context(|| format!("starting {:?}", self.0))?;
        ensure!(
            output.status.success(),
            "{:?} failed:\n{}",
            self.0,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// `$TERNARY_ONEBIT`, or the binary that cargo built beside these tests.
fn find() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("TERNARY_ONEBIT") {
        return Ok(PathBuf::from(named));
    }
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent);
    let program = folder
        .unwrap_or(Path::new(""))
        .join(format!("onebit{}", std::env::consts::EXE_SUFFIX));
    ensure!(
        program.is_file(),
        "{} is not built: run `cargo build -p onebit` first, or `cargo xtask test`",
        program.display()
    );
    Ok(program)
}
