//! `cargo xtask check`: formatting, lints, the core without std, dependencies, documentation,
//! links.

use std::process::Command;

use anyhow::{Result, bail};

use crate::docs;
use crate::setup::{tools, wasm};
use crate::shell::{cargo, run, step};
use crate::workspace;

/// The crate that exists only as WebAssembly.
pub const WEB_CRATE: &str = "ternary-web";

/// A processor without an operating system (Cortex-M4 and M7).
const BOARD: &str = "thumbv7em-none-eabi";

pub fn check() -> Result<()> {
    step("formatting");
    run(cargo().args(["fmt", "--all", "--check"]))?;

    step("clippy, native");
    run(cargo()
        .args([
            "clippy",
            "--workspace",
            "--exclude",
            WEB_CRATE,
            "--all-targets",
        ])
        .args(["--", "-D", "warnings"]))?;

    step("clippy, wasm32");
    let toolchain = wasm::ensure()?;
    let mut clippy = cargo();
    toolchain.select(&mut clippy);
    // The profile trunk builds with: build scripts and procedural macros are then compiled once for
    // both.
    clippy
        .args(["clippy", "--profile", "web", "--target", wasm::TARGET])
        .args(["-p", "ternary", "-p", WEB_CRATE])
        .args([
            "--no-default-features",
            "--features",
            "ternary/gpu,ternary/web,ternary/training,ternary-web/ui,ternary-web/worker,ternary-web/relaxed-simd,ternary-web/training",
        ])
        .args(["--", "-D", "warnings"]);
    run(&mut clippy)?;

    step("clippy, the engine's core without std");
    let core = ["-p", "ternary-core", "--no-default-features", "--lib"];
    run(cargo()
        .arg("clippy")
        .args(core)
        .args(["--", "-D", "warnings"]))?;
    // A dependency that brings std along is only noticed where there is none.
    if wasm::has_bare_metal(BOARD) {
        run(cargo().arg("build").args(core).args(["--target", BOARD]))?;
    } else {
        println!(
            "    SKIPPED for {BOARD}: this Rust has no library for it (rustup target add {BOARD})"
        );
    }

    dependencies()?;

    packages()?;

    step("documentation");
    run(cargo()
        .args([
            "doc",
            "--workspace",
            "--exclude",
            WEB_CRATE,
            "--no-deps",
            "--document-private-items",
        ])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    docs::check()
}

/// The libraries, as crates.io would get them. Building each from its package would build
/// everything again, so that is left to a release.
fn packages() -> Result<()> {
    const LIBRARIES: [&str; 12] = [
        "ternary-shaders",
        "ternary-core",
        "ternary-common",
        "ternary-model",
        "ternary-backend",
        "ternary-formats",
        "ternary-grammar",
        "ternary-infer",
        "ternary-train",
        "ternary-search",
        "ternary-session",
        "ternary",
    ];
    step("packages");
    let selected = LIBRARIES.iter().flat_map(|name| ["-p", name]);
    run(cargo()
        .args(["package", "--quiet", "--no-verify", "--allow-dirty"])
        .args(selected))
}

/// Licenses, sources and doubled crates by deny.toml; advisories where their database can be
/// reached.
fn dependencies() -> Result<()> {
    step("dependencies");
    let deny = tools::cargo_deny()?;
    let command = || {
        let mut command = Command::new(&deny.program);
        command.current_dir(workspace::root()).args([
            "--log-level",
            "error",
            "check",
            "--hide-inclusion-graph",
        ]);
        command
    };
    run(command().args(["bans", "licenses", "sources"]))?;
    let advisories = command().arg("advisories").output()?;
    let said = String::from_utf8_lossy(&advisories.stderr);
    if advisories.status.success() {
        println!("    no advisories");
    } else if said.contains("failed to fetch") || said.contains("advisory database") {
        println!("    SKIPPED: the database of advisories cannot be reached from here");
    } else {
        print!("{said}");
        bail!("a dependency has an advisory");
    }
    Ok(())
}
