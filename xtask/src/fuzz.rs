//! `cargo xtask fuzz`: a long campaign of hostile files.

use anyhow::{Result, ensure};

use crate::shell::{self, cargo, step};

/// Parsers that share the time.
const TARGETS: u64 = 13;

pub fn run(minutes: u64) -> Result<()> {
    ensure!(minutes > 0, "give a number of minutes above 0");
    step(&format!(
        "hostile files for every parser, {minutes} min in all"
    ));
    let seconds = (60 * minutes / TARGETS).max(1).to_string();
    shell::run(cargo().args([
        "run",
        "--release",
        "-p",
        "ternary-fuzz",
        "--",
        "--seconds",
        &seconds,
    ]))
}
