//! A Rust toolchain that compiles to wasm32-unknown-unknown.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::debian_toolchain;
use crate::shell::{find, output, run, step};

pub const TARGET: &str = "wasm32-unknown-unknown";

/// The toolchain the page is built with: the user's own, or the one made of Debian's packages.
pub struct Toolchain {
    rustup_name: Option<&'static str>,
}

impl Toolchain {
    /// Makes `command`, and the cargo it starts, use this toolchain.
    pub fn select(&self, command: &mut Command) {
        if let Some(name) = self.rustup_name {
            command.env("RUSTUP_TOOLCHAIN", name);
        }
    }

    pub fn describe(&self) -> String {
        match self.rustup_name {
            Some(name) => {
                format!("rustup toolchain `{name}` (RUSTUP_TOOLCHAIN={name} trunk build --release)")
            }
            None => "the default Rust toolchain".to_owned(),
        }
    }
}

/// The present toolchain if it has the target, else what rustup can add, else Debian's compiler.
pub fn ensure() -> Result<Toolchain> {
    let own = Toolchain { rustup_name: None };
    if has_target(&mut rustc()) {
        return Ok(own);
    }
    let debian = Toolchain {
        rustup_name: Some(debian_toolchain::NAME),
    };
    if debian_toolchain::is_ready()? {
        return Ok(debian);
    }
    if find("rustup").is_some() {
        step("adding Rust's wasm32-unknown-unknown target: the page is compiled to WebAssembly");
        let mut rustup = Command::new("rustup");
        rustup
            .args(["target", "add", TARGET])
            .current_dir(crate::workspace::root());
        // A failed download is an expected case with its own way out: no backtrace for it.
        let added = run(rustup.env_remove("RUST_BACKTRACE"));
        match added {
            Ok(()) if has_target(&mut rustc()) => return Ok(own),
            Ok(()) => println!("    rustup reports the target installed, but it is not there"),
            Err(error) => println!("    {error:#}"),
        }
    } else {
        bail!(
            "this Rust has no {TARGET} target and was not installed by rustup: \
             install rustup (https://rustup.rs), or the target by your system's packages"
        );
    }
    debian_toolchain::install()?;
    Ok(debian)
}

/// Whether the present toolchain compiles for processors without an operating system.
pub fn has_bare_metal(target: &str) -> bool {
    has_library(&mut rustc(), target, "libcore-")
}

/// The compiler that builds everything else here.
fn rustc() -> Command {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(crate::workspace::root());
    rustc
}

/// Whether `rustc` finds a standard library for the target.
pub fn has_target(rustc: &mut Command) -> bool {
    has_library(rustc, TARGET, "libstd-")
}

/// Whether `rustc` finds a library for `target` whose file begins with `library`.
fn has_library(rustc: &mut Command, target: &str, library: &str) -> bool {
    let Some(folder) = output(rustc.args(["--print", "target-libdir", "--target", target])) else {
        return false;
    };
    let Ok(files) = Path::new(&folder).read_dir() else {
        return false;
    };
    files
        .flatten()
        .any(|file| file.file_name().to_string_lossy().starts_with(library))
}
