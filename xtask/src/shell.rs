//! Running commands: always shown before they run, with how long the slow ones took.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::cases::Outcomes;

/// What is about to happen, and why.
pub fn step(message: &str) {
    println!("==> {message}");
}

/// Shows `command`, runs it with its output passed through, and fails when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = display(command);
    println!("    $ {shown}");
    let start = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("starting `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    if start.elapsed().as_secs() >= 5 {
        println!("{}", took(start));
    }
    Ok(())
}

/// As [`run`], for a program of tests: its output is passed through, and what became of each test
/// is added to `outcomes`.
pub fn run_tests(command: &mut Command, outcomes: &mut Outcomes) -> Result<()> {
    let tests = Tests::start(command)?;
    tests.read(|line| println!("{line}"), outcomes)
}

/// Two programs of tests at once, each of which runs one test after the other; the second's output
/// follows the first's.
pub fn run_tests_at_once(commands: [&mut Command; 2], outcomes: &mut Outcomes) -> Result<()> {
    let [first, second] = commands;
    let first = Tests::start(first)?;
    let second = Tests::start(second)?;
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let (mut lines, mut outcomes) = (Vec::new(), Outcomes::new());
            let ended = second.read(timed(|line| lines.push(line.to_owned())), &mut outcomes);
            (lines, outcomes, ended)
        });
        let ended = first.read(timed(|line| println!("{line}")), outcomes);
        let (lines, others, second) = match second.join() {
            Ok(second) => second,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        lines.iter().for_each(|line| println!("{line}"));
        outcomes.extend(others);
        ended.and(second)
    })
}

/// Shows, behind what became of a slow test, how long it took.
fn timed(mut show: impl FnMut(&str)) -> impl FnMut(&str) {
    let mut last = Instant::now();
    move |line| {
        let seconds = last.elapsed().as_secs();
        if line.starts_with("test ") && seconds >= 10 {
            show(&format!("{line}   ({seconds} s)"));
        } else {
            show(line);
        }
        last = Instant::now();
    }
}

/// A command that runs beside others; what it prints is shown when it is waited for.
pub struct Beside {
    shown: String,
    start: Instant,
    child: Child,
    printed: JoinHandle<io::Result<Vec<u8>>>,
}

impl Beside {
    pub fn start(command: &mut Command) -> Result<Self> {
        let shown = display(command);
        println!("    $ {shown}   (beside what follows)");
        let (mut reader, writer) = io::pipe()?;
        let child = command
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()
            .with_context(|| format!("starting `{shown}`"))?;
        // The command holds the pipe's other end: while it did, reading would not end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Beside {
            shown,
            start: Instant::now(),
            child,
            printed: std::thread::spawn(move || {
                let mut printed = Vec::new();
                reader.read_to_end(&mut printed)?;
                Ok(printed)
            }),
        })
    }

    pub fn wait(mut self) -> Result<()> {
        let status = self.child.wait()?;
        println!("    $ {}", self.shown);
        match self.printed.join() {
            Ok(printed) => io::stdout().write_all(&printed?)?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        ensure!(status.success(), "`{}` failed ({status})", self.shown);
        println!("{}", took(self.start));
        Ok(())
    }
}

fn took(start: Instant) -> String {
    let seconds = start.elapsed().as_secs();
    format!("    took {}:{:02} min", seconds / 60, seconds % 60)
}

/// A program of tests that runs.
struct Tests {
    shown: String,
    start: Instant,
    child: Child,
}

impl Tests {
    fn start(command: &mut Command) -> Result<Self> {
        let shown = display(command);
        println!("    $ {shown}");
        let child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{shown}`"))?;
        Ok(Tests {
            shown,
            start: Instant::now(),
            child,
        })
    }

    /// Until it ends; `each` gets every line of its output.
    fn read(mut self, mut each: impl FnMut(&str), outcomes: &mut Outcomes) -> Result<()> {
        let output = self.child.stdout.take().context("the tests' output")?;
        for line in BufReader::new(output).lines() {
            let line = line?;
            each(&line);
            // `test module::name ... ok`
            if let Some((name, outcome)) = line
                .strip_prefix("test ")
                .and_then(|l| l.split_once(" ... "))
            {
                outcomes.insert(name.to_owned(), outcome.to_owned());
            }
        }
        let status = self.child.wait()?;
        each(&took(self.start));
        if !status.success() {
            bail!("`{}` failed ({status})", self.shown);
        }
        Ok(())
    }
}

/// What `command` prints on standard output, or `None` when it can't be started or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The first `program` on PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let file = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&path)
        .map(|folder| folder.join(&file))
        .find(|file| file.is_file())
}

/// PATH with `folders` before everything else.
pub fn path_with(folders: &[&Path]) -> Result<OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let folders = folders.iter().map(|folder| folder.to_path_buf());
    std::env::join_paths(folders.chain(std::env::split_paths(&old)))
        .context("a tool's folder can't be put on PATH")
}

/// Cargo, run in the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(crate::workspace::root());
    command
}

fn display(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
