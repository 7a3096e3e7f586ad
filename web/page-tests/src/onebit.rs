//! The native command line: makes the model the tests load, and writes the text the page's must
//! equal.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use ternary::config::CachePrecision;
use ternary::format::FileSource;
use ternary::format::{Dense, OneBit, Packing, encode};
use ternary::session::{DeviceChoice, Event, Session};

use crate::{changed, dist, root, scratch};

/// A small model trained for a moment on one story: it writes words, and knows some of them by
/// heart.
pub fn tiny_model() -> Result<&'static Path> {
    static MODEL: OnceLock<Result<PathBuf>> = OnceLock::new();
    MODEL
        .get_or_init(|| make_model("tiny", Some("config/chat_template.jinja"), json!({})))
        .as_deref()
        .map_err(|error| anyhow::anyhow!("{error:#}"))
}

/// The same without a chat template.
pub fn plain_model() -> Result<PathBuf> {
    make_model("plain", None, json!({}))
}

/// The same with float activations: nothing in it is rounded but the weights.
pub fn float_model() -> Result<PathBuf> {
    make_model("float", None, json!({ "activation_bits": null }))
}

/// A model of this name with these changes to the tiny one's configuration.
pub fn changed_model(name: &str, changes: Value) -> Result<PathBuf> {
    make_model(name, None, changes)
}

/// What `onebit generate` writes after `prompt`, greedily, on the CPU.
pub fn greedy(model: &Path, prompt: &str, tokens: usize) -> Result<String> {
    written(generate(model)?, prompt, &greedily(&tokens.to_string()))
}

/// The same with an adapter beside the model.
pub fn greedy_with(model: &Path, adapter: &Path, prompt: &str, tokens: usize) -> Result<String> {
    let command = generate(model)?.with("--adapter", adapter);
    written(command, prompt, &greedily(&tokens.to_string()))
}

/// The same with these settings.
pub fn sampled(model: &Path, prompt: &str, settings: &[(&str, &str)]) -> Result<String> {
    written(generate(model)?, prompt, settings)
}

fn generate(model: &Path) -> Result<Onebit> {
    Ok(Onebit::new("generate")?.with("--model", model))
}

fn greedily(tokens: &str) -> [(&str, &str); 2] {
    [("max-tokens", tokens), ("temperature", "0")]
}

fn written(mut command: Onebit, prompt: &str, settings: &[(&str, &str)]) -> Result<String> {
    for (name, value) in settings {
        command = command.with(&format!("--{name}"), value);
    }
    let output = command
        .with("--prompt", prompt)
        .with("--device", "cpu")
        .flag("--json")
        .run()?;
    let answer: Value = serde_json::from_str(&output).context("onebit generate --json")?;
    let text = answer["text"].as_str().context("no text in the answer")?;
    Ok(text.to_owned())
}

/// The perplexity of `text`'s windows with the model in `map`, by `onebit eval-config`.
pub fn perplexity(model: &Path, map: &Path, text: &Path) -> Result<f64> {
    let output = Onebit::new("eval-config")?
        .with("--model-dir", model)
        .with("--bit-map", map)
        .with("--val-data", text)
        .with("--device", "cpu")
        .flag("--json")
        .run()?;
    let answer: Value = serde_json::from_str(&output).context("onebit eval-config --json")?;
    answer["perplexity"]
        .as_f64()
        .context("no perplexity in the answer")
}

/// A random model of BitNet b1.58 2B4T's widths, as a Hugging Face folder.
pub fn random_bitnet(folder: &Path, layers: usize, vocabulary: usize) -> Result<()> {
    let program = built(
        "examples/random_bitnet",
        "-p ternary-core --example random_bitnet",
    )?;
    let mut command = Command::new(program);
    command.arg(folder);
    command.args([layers, vocabulary].map(|n| n.to_string()));
    Onebit(command).run().map(|_| ())
}

/// The training losses of `onebit finetune` with these flags; `simd` is what `ONEBIT_SIMD` says,
/// empty for the best there is.
pub fn finetune(
    model: &Path,
    simd: &str,
    (text, held_back): (&Path, &Path),
    folder: &Path,
    flags: &[(&str, &str)],
) -> Result<Vec<f64>> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let mut command = Onebit::new("finetune")?
        .with("--model", model)
        .with("--data-dir", text)
        .with("--val-data-dir", held_back)
        .with("--output-dir", folder)
        .with("--device", "cpu");
    for (flag, value) in flags {
        command = command.with(flag, value);
    }
    command.0.env("ONEBIT_SIMD", simd);
    command.run()?;
    let metrics = fs::read_to_string(folder.join("metrics.jsonl"))?;
    metrics
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line)?;
            line["train_loss"].as_f64().context("no loss in a line")
        })
        .collect()
}

/// A `.1bit` as these flags say: `--format gguf` or `hf`.
pub fn export(model: &Path, output: &Path, flags: &[(&str, &str)]) -> Result<()> {
    let mut command = Onebit::new("export")?
        .with("--model", model)
        .with("--output", output);
    for (flag, value) in flags {
        command = command.with(flag, value);
    }
    command.run()?;
    Ok(())
}

/// What `onebit import` makes of a published model.
pub fn import(input: &Path, head: &str) -> Result<PathBuf> {
    import_with(input, &[("--head", head)])
}

/// The same with these flags.
pub fn import_with(input: &Path, flags: &[(&str, &str)]) -> Result<PathBuf> {
    let output = scratch().join("imported.1bit");
    let mut command = Onebit::new("import")?
        .with("--input", input)
        .with("--output", &output);
    for (flag, value) in flags {
        command = command.with(flag, value);
    }
    command.run()?;
    Ok(output)
}

/// Logits after the last of these tokens, on the CPU with a cache of this precision.
pub fn logits(model: &Path, ids: &[u32], cache: CachePrecision) -> Result<Vec<f32>> {
    let source = Rc::new(FileSource::open(model)?);
    let mut session = Session::new();
    session.set_cache_precision(cache);
    let mut problem = None;
    let mut emit = |event| {
        if let Event::Error { message } = event {
            problem = Some(message);
        }
    };
    pollster::block_on(session.load(source, DeviceChoice::Cpu, &mut emit));
    if let Some(problem) = problem {
        bail!("{problem}");
    }
    let loaded = session.loaded()?;
    let vocab = loaded.info.config.vocab_size;
    let mut last = Vec::new();
    let mut take = |rows: &[f32]| last = rows[rows.len() - vocab..].to_vec();
    pollster::block_on(loaded.model.logits(ids, &mut take))?;
    Ok(last)
}

/// The codes of a matrix in a `.1bit`, row by row, and how many a row has.
fn codes(model: &Path, matrix: &str) -> Result<(Vec<i8>, usize)> {
    let source = FileSource::open(model)?;
    let read = async {
        let file = OneBit::open(&source).await?;
        let entry = file.tensor(matrix)?;
        let encoding = entry.encoding()?;
        let mut row = vec![0i8; entry.shape[1] as usize];
        let mut all = Vec::new();
        file.read_tensor(&source, entry, &mut |band| {
            for r in 0..band.bytes.len() / band.row_bytes {
                band.codes(encoding, r, &mut row, matrix)?;
                all.extend_from_slice(&row);
            }
            Ok(())
        })
        .await?;
        Ok::<_, ternary::Error>((all, row.len()))
    };
    Ok(pollster::block_on(read)?)
}

/// A code of a matrix in a `.1bit`.
pub fn code(model: &Path, matrix: &str, row: usize, column: usize) -> Result<i8> {
    let (codes, columns) = codes(model, matrix)?;
    let code = codes.get(row * columns + column);
    code.copied().context("no such weight")
}

/// How many codes of a matrix another file has otherwise.
pub fn turned(model: &Path, other: &Path, matrix: &str) -> Result<usize> {
    let ((one, _), (two, _)) = (codes(model, matrix)?, codes(other, matrix)?);
    ensure!(one.len() == two.len() && !one.is_empty(), "other sizes");
    Ok(one.iter().zip(&two).filter(|(a, b)| a != b).count())
}

/// `model` with so many more words of no meaning that its embedding has at least so many weights.
pub fn with_vocabulary(model: &Path, weights: usize, to: &Path) -> Result<()> {
    let source = FileSource::open(model)?;
    let read = async {
        let file = OneBit::open(&source).await?;
        let latents = file.latents(&source).await?;
        Ok::<_, ternary::Error>((file.metadata, latents))
    };
    let (mut metadata, mut latents) = pollster::block_on(read)?;
    let config = &mut metadata.config;
    config.vocab_size = weights.div_ceil(config.hidden_size);
    let all = config.vocab_size * config.hidden_size;
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        if let Some(values) = latents.get_mut(name) {
            let more = values.iter().copied().cycle().take(all);
            *values = more.collect();
        }
    }
    fs::write(
        to,
        encode(metadata, &latents, Packing::Ternary2, Dense::No)?,
    )?;
    Ok(())
}

fn make_model(name: &str, template: Option<&str>, changes: Value) -> Result<PathBuf> {
    let fixtures = root().join("web/page-tests/fixtures");
    let folder = scratch().join(name);
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
    let config = serde_json::from_slice(&fs::read(fixtures.join("tiny.json"))?)?;
    let config = changed(config, changes);
    let written = folder.join("config.json");
    fs::write(&written, config.to_string())?;
    let mut training = Onebit::new("train")?
        .with("--config", &written)
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

/// A running `onebit serve`, with the page; it ends when this is dropped.
pub struct Serve {
    process: Child,
    origin: String,
}

impl Serve {
    /// Of the tiny model, with more flags.
    pub fn start(flags: &[(&str, &str)]) -> Result<Self> {
        let mut command = Onebit::new("serve")?
            .with("--model", tiny_model()?)
            .with("--page", dist())
            .with("--device", "cpu")
            .with("--port", "0");
        for (name, value) in flags {
            command = command.with(&format!("--{name}"), value);
        }
        let mut process = command
            .0
            .stderr(Stdio::piped())
            .spawn()
            .context("starting onebit serve")?;
        let said = process.stderr.take().context("no standard error")?;
        let mut lines = BufReader::new(said).lines();
        let origin = lines.by_ref().find_map(|line| {
            let line = line.ok()?;
            Some(line.strip_prefix("listening on ")?.to_owned())
        });
        // What it says from then on is read, so that it never waits for that.
        std::thread::spawn(move || lines.for_each(drop));
        let serve = Serve {
            process,
            origin: origin.unwrap_or_default(),
        };
        ensure!(!serve.origin.is_empty(), "onebit serve does not listen");
        Ok(serve)
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// `$TERNARY_ONEBIT`, or the binary that cargo built beside these tests.
fn find() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("TERNARY_ONEBIT") {
        return Ok(PathBuf::from(named));
    }
    built("onebit", "-p onebit")
}

/// The program at `path` of the folder that these tests were built into.
fn built(path: &str, how: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent);
    let program = folder
        .unwrap_or(Path::new(""))
        .join(format!("{path}{}", std::env::consts::EXE_SUFFIX));
    ensure!(
        program.is_file(),
        "{} is not built: run `cargo build {how}` first, or `cargo xtask test`",
        program.display()
    );
    Ok(program)
}
