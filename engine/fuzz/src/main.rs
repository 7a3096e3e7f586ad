//! `ternary-fuzz [--seconds S] [--executions N] [--target NAME] [--from K]`: hostile files for
//! every parser, each for so long or so many times, from execution K on, and a line of figures for
//! each. Exits with 1 if anything failed.
#![allow(
    clippy::print_stdout,
    reason = "a command whose whole output is what it prints"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: ternary-fuzz [--seconds S] [--executions N] [--target NAME] [--from K]";

/// What the command line asks for.
struct Wanted {
    /// For each target, at most.
    seconds: u64,
    from: u64,
    to: u64,
    target: Option<String>,
}

impl Wanted {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut seconds, mut executions, mut from, mut target) = (None, None, 0, None);
        while let Some(flag) = args.next() {
            let value = args.next().ok_or(format!("{flag} needs a value"))?;
            let number = || {
                value
                    .parse()
                    .map_err(|_| format!("{flag} {value}: not a number"))
            };
            match flag.as_str() {
                "--seconds" => seconds = Some(number()?),
                "--executions" => executions = Some(number()?),
                "--from" => from = number()?,
                "--target" => target = Some(value),
                _ => return Err(format!("there is no flag {flag}")),
            }
        }
        // As long as it takes, where it is said how many.
        let default = if executions.is_some() { 1 << 20 } else { 10 };
        Ok(Wanted {
            seconds: seconds.unwrap_or(default),
            from,
            to: executions.map_or(u64::MAX, |n: u64| from.saturating_add(n)),
            target,
        })
    }
}

fn main() -> ExitCode {
    let wanted = match Wanted::parse(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
        Err(problem) => {
            println!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let Ok(folder) = tempfile::tempdir() else {
        println!("no temporary folder can be made");
        return ExitCode::FAILURE;
    };
    // What a panic says is of no use a million times over.
    std::panic::set_hook(Box::new(|_| {}));
    let mut targets = ternary_fuzz::all(folder.path());
    if let Some(name) = &wanted.target {
        if !targets.iter().any(|target| target.name == name) {
            let names: Vec<&str> = targets.iter().map(|target| target.name).collect();
            println!("there is no target {name}; there are {}", names.join(", "));
            return ExitCode::from(2);
        }
        targets.retain(|target| target.name == name);
    }
    println!("target             executions  accepted   slowest     memory  of file  failures");
    let mut failed = false;
    for mut target in targets {
        let until = Instant::now() + Duration::from_secs(wanted.seconds);
        let f = ternary_fuzz::run(&mut target, wanted.from, wanted.to, until);
        println!(
            "{:16} {:>12} {:>8.1}% {:>7} ms {:>7} kB {:>7} B {:>9}",
            target.name,
            f.executions,
            100.0 * f.accepted as f64 / f.executions.max(1) as f64,
            f.slowest.as_millis(),
            f.most_memory.0 / 1000,
            f.most_memory.1,
            f.failures.len()
        );
        for (number, what) in f.failures.iter().take(5) {
            println!("    execution {number}: {what}");
        }
        failed |= !f.failures.is_empty();
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
