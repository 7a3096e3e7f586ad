//! What runs programs for 64-bit ARM on another Linux machine: Rust's target, a linker and QEMU.

use std::process::Command;

use anyhow::{Result, ensure};

use super::apt;
use crate::shell::{find, output, run, step};

pub const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const RUNNER: &str = "qemu-aarch64";

/// Makes `command`, a cargo, build for ARM and run what it built.
pub fn select(command: &mut Command) {
    command
        .args(["--target", TARGET])
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER",
            format!("{RUNNER} -L /usr/aarch64-linux-gnu"),
        );
}

pub fn ensure() -> Result<()> {
    ensure!(
        cfg!(target_os = "linux"),
        "programs for ARM run by QEMU on Linux only; on an ARM machine `cargo xtask test` runs these tests"
    );
    if find(LINKER).is_none() || find(RUNNER).is_none() {
        apt::install(
            &[
                "gcc-aarch64-linux-gnu",
                "libc6-dev-arm64-cross",
                "qemu-user",
            ],
            "The tests of ARM's kernels are linked for ARM, and run by QEMU.",
            "a cross linker (aarch64-linux-gnu-gcc) and QEMU's user mode (qemu-aarch64)",
        )?;
    }
    let listed = output(Command::new("rustup").args(["target", "list", "--installed"]));
    if !listed.is_some_and(|listed| listed.lines().any(|target| target == TARGET)) {
        step("adding Rust's aarch64-unknown-linux-gnu target");
        run(Command::new("rustup").args(["target", "add", TARGET]))?;
    }
    Ok(())
}
