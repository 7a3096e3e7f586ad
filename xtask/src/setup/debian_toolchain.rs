//! A wasm32 toolchain out of Debian's packages, for machines where rustup can't download.
//!
//! Debian ships a recent compiler for its browsers (`rustc-web`) and the source of its standard
//! library, but no library for wasm32. It is built once into the cache; the system's own folders
//! get the packages and nothing else:
//!
//! ```text
//! <cache>/wasm-toolchain/bin/            wrappers: the compiler in /usr/bin with this folder as its sysroot
//! <cache>/wasm-toolchain/lib/rustlib/    the host's libraries (a link) and the ones for wasm32
//! <cache>/wasm-toolchain/compiler        what built them; an upgraded compiler means building again
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{apt, wasm};
use crate::shell::{cargo, output, run, step};
use crate::workspace;

/// Its name in rustup.
pub const NAME: &str = "ternary-wasm";

const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
/// As rust-lang's own libraries are compiled: without the bitcode the page's link-time optimization
/// fails.
const STD_FLAGS: &str = "-Cembed-bitcode=yes";
const BY_HAND: &str = "Rust's wasm32 target, with `rustup target add wasm32-unknown-unknown` (it downloads from rust-lang.org)";

/// Whether it was made before, by the compiler that is still installed, and rustup knows it.
pub fn is_ready() -> Result<bool> {
    let folder = folder()?;
    let Ok(made_by) = fs::read_to_string(folder.join("compiler")) else {
        return Ok(false);
    };
    let linked = output(Command::new("rustup").args(["toolchain", "list"])).is_some_and(|list| {
        list.lines()
            .any(|line| line.split_whitespace().next() == Some(NAME))
    });
    Ok(linked && compiler_version().map(|version| stamp(&version)) == Some(made_by))
}

pub fn install() -> Result<()> {
    let why =
        "rustup could not add the wasm32 target; Debian's compiler can build the page instead.";
    let packages = [
        "rustc-web",
        "cargo-web",
        "rust-web-src",
        "rust-web-llvm",
        "rust-web-clippy",
    ];
    apt::install(&packages, why, BY_HAND)?;
    // rust-lld is a link to the linker of the compiler's own LLVM version, which is a package of
    // that name.
    let linker =
        fs::read_link("/usr/bin/rust-lld").context("rustc-web has no /usr/bin/rust-lld")?;
    let linker = linker
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    if !Path::new("/usr/bin").join(&linker).exists() {
        apt::install(&[&linker], "The linker for wasm32.", BY_HAND)?;
    }
    let version = compiler_version().with_context(|| format!("{RUSTC} does not run"))?;
    ensure_new_enough(&version)?;

    let folder = folder()?;
    let library = build_std()?;
    lay_out(&folder, &library)?;
    step(&format!(
        "telling rustup about it: toolchain `{NAME}` (remove it with `rustup toolchain uninstall {NAME}`)"
    ));
    run(Command::new("rustup")
        .args(["toolchain", "link", NAME])
        .arg(&folder))?;
    if !wasm::has_target(Command::new("rustc").env("RUSTUP_TOOLCHAIN", NAME)) {
        bail!(
            "the toolchain made in {} has no {} library; remove that folder and try again",
            folder.display(),
            wasm::TARGET
        );
    }
    // Cargo knows a compiler by its version only: what an earlier standard library built would not
    // fit this one.
    run(cargo().args(["clean", "--quiet", "--target", wasm::TARGET]))?;
    fs::write(folder.join("compiler"), stamp(&version))?;
    Ok(())
}

fn folder() -> Result<PathBuf> {
    Ok(workspace::cache()?.join("wasm-toolchain"))
}

fn compiler_version() -> Option<String> {
    output(Command::new(RUSTC).arg("-vV"))
}

/// What a toolchain must have been made from and with to be used again.
fn stamp(compiler: &str) -> String {
    format!("{compiler}\n{STD_FLAGS}\n")
}

/// An older Debian has a `rustc-web` too old for this workspace.
fn ensure_new_enough(version: &str) -> Result<()> {
    let release = version
        .lines()
        .find_map(|line| line.strip_prefix("release: "))
        .unwrap_or_default();
    let needed = env!("CARGO_PKG_RUST_VERSION");
    let number = |text: &str| -> Vec<u32> {
        text.split('.')
            .map_while(|part| part.parse().ok())
            .collect()
    };
    ensure!(
        number(release) >= number(needed),
        "Debian's compiler here is {release}, this project needs {needed}. Install by hand:\n  {BY_HAND}"
    );
    Ok(())
}

/// Compiles the standard library for wasm32; returns the folder with its .rlib files.
fn build_std() -> Result<PathBuf> {
    step("building Rust's standard library for wasm32 from rust-web-src (about a minute, once)");
    let project = workspace::cache()?.join("wasm-std");
    // Nothing of another compiler's build may be taken for this one's.
    if project.exists() {
        fs::remove_dir_all(&project)
            .with_context(|| format!("removing the old {}", project.display()))?;
    }
    fs::create_dir_all(project.join("src"))?;
    let manifest = "[package]\nname = \"probe\"\nedition = \"2021\"\n\n[workspace]\n";
    fs::write(project.join("Cargo.toml"), manifest)?;
    fs::write(project.join("src/lib.rs"), "")?;
    let target = project.join("target");
    let mut cargo = Command::new(CARGO);
    cargo
        .args([
            "build",
            "--release",
            "--target",
            wasm::TARGET,
            "-Zbuild-std=std,panic_abort,test",
        ])
        .current_dir(&project)
        .env("RUSTC", RUSTC)
        // -Zbuild-std is nightly-only by name; the compiler's own source is by definition the right
        // version for it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", STD_FLAGS);
    run(&mut cargo)?;
    Ok(target.join(wasm::TARGET).join("release/deps"))
}

/// The toolchain's folder as rustup expects one.
fn lay_out(folder: &Path, library: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("removing the old {}", folder.display()))?;
    }
    let rustlib = folder.join("lib/rustlib");
    let wasm_library = rustlib.join(wasm::TARGET).join("lib");
    fs::create_dir_all(&wasm_library)?;
    for file in library.read_dir()? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libprobe-") {
            fs::copy(file.path(), wasm_library.join(&name))?;
        }
    }

    let system = output(Command::new(RUSTC).args(["--print", "sysroot"]))
        .context("rustc --print sysroot failed")?;
    let host = output(Command::new(RUSTC).args(["--print", "host-tuple"]))
        .context("rustc --print host-tuple failed")?;
    symlink(
        &Path::new(&system).join("lib/rustlib").join(&host),
        &rustlib.join(&host),
    )?;

    let bin = folder.join("bin");
    fs::create_dir_all(&bin)?;
    let sysroot = shell_quoted(folder)?;
    wrapper(
        &bin.join("rustc"),
        &format!("exec {RUSTC} --sysroot {sysroot} \"$@\""),
    )?;
    wrapper(
        &bin.join("cargo"),
        &format!("export SYSROOT={sysroot}\nexec {CARGO} \"$@\""),
    )?;
    for tool in ["cargo-clippy", "clippy-driver"] {
        wrapper(
            &bin.join(tool),
            &format!("export SYSROOT={sysroot}\nexec /usr/bin/{tool} \"$@\""),
        )?;
    }
    Ok(())
}

fn shell_quoted(path: &Path) -> Result<String> {
    let path = path
        .to_str()
        .context("the cache folder's name is not UTF-8")?;
    Ok(format!("'{}'", path.replace('\'', r"'\''")))
}

#[cfg(unix)]
fn symlink(original: &Path, link: &Path) -> Result<()> {
    std::os::unix::fs::symlink(original, link)
        .with_context(|| format!("linking {}", link.display()))
}

#[cfg(unix)]
fn wrapper(path: &Path, script: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

// Never reached: without apt-get, `install` has already failed with what to do by hand.
#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> Result<()> {
    bail!("Debian packages on a system without symbolic links")
}

#[cfg(not(unix))]
fn wrapper(_: &Path, _: &str) -> Result<()> {
    bail!("Debian packages on a system without shell scripts")
}
