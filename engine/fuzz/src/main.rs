//! `ternary-fuzz [--seconds S] [--executions N] [--target NAME] [--from K]`: hostile files for every parser, each for so long or so many
//! times, from execution K on, and a line of figures for each. Exits with 1 if anything failed.
#![allow(
    clippy::print_stdout,
    reason = "a command whose whole output is what it prints"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let given = |flag: &str| {
        args.windows(2)
            .find(|pair| pair[0] == flag)
            .map(|pair| pair[1].as_str())
    };
    let number = |flag: &str| given(flag).and_then(|text| text.parse::<u64>().ok());
    let seconds = number("--seconds").unwrap_or(if number("--executions").is_some() {
        1 << 20
    } else {
        10
    });
    let from = number("--from").unwrap_or(0);
    let to = number("--executions").map_or(u64::MAX, |n| from + n);
    let Ok(folder) = tempfile::tempdir() else {
        println!("no temporary folder can be made");
        return ExitCode::FAILURE;
    };
    // What a panic says is of no use a million times over.
    std::panic::set_hook(Box::new(|_| {}));
    println!("target             executions  accepted   slowest     memory  of file  failures");
    let mut failed = false;
    for mut target in ternary_fuzz::all(folder.path()) {
        if given("--target").is_some_and(|name| name != target.name) {
            continue;
        }
        let until = Instant::now() + Duration::from_secs(seconds);
        let f = ternary_fuzz::run(&mut target, from, to, until);
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
