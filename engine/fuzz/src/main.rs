//! `ternary-fuzz SECONDS [TARGET]`: hostile files for every parser, and a line of figures for each. Exits with 1 if anything failed.
#![allow(
    clippy::print_stdout,
    reason = "a command whose whole output is what it prints"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let seconds = args.first().and_then(|s| s.parse().ok()).unwrap_or(10.0);
    let wanted = args.get(1);
    let from = args.get(2).and_then(|s| s.parse().ok()).unwrap_or(0);
    let Ok(folder) = tempfile::tempdir() else {
        println!("no temporary folder can be made");
        return ExitCode::FAILURE;
    };
    // What a panic says is of no use a million times over.
    std::panic::set_hook(Box::new(|_| {}));
    println!("target             executions  accepted   slowest     memory  of file  failures");
    let mut failed = false;
    for mut target in ternary_fuzz::all(folder.path()) {
        if wanted.is_some_and(|name| name != "all" && name != target.name) {
            continue;
        }
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        let f = ternary_fuzz::run(&mut target, from, u64::MAX, until);
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
