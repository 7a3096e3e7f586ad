//! Tools that crates.io has: the ones on PATH if their versions suit, else built once into the
//! cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell::{find, output, run, step};
use crate::workspace;

/// Newer ones need a newer Rust than the workspace does.
const TRUNK: &str = "0.21.14";

const CARGO_DENY: &str = "0.20.2";

const GECKODRIVER: &str = "0.37.1";

/// A program ready to run.
pub struct Tool {
    pub program: PathBuf,
}

impl Tool {
    pub fn folder(&self) -> &Path {
        self.program.parent().unwrap_or(Path::new("."))
    }
}

pub fn trunk() -> Result<Tool> {
    ensure(&Recipe {
        package: "trunk",
        program: "trunk",
        version: TRUNK,
        why: "builds and serves the page",
        minutes: 4,
        // It starts compilers and copies files: how fast it runs itself hardly matters, how fast it
        // builds does. Its default features are for TLS and update checks, which serving on this
        // machine doesn't use.
        arguments: &["--debug", "--locked", "--no-default-features"],
        environment: &[("CARGO_PROFILE_DEV_DEBUG", "0")],
    })
}

/// The command must match the library's version exactly.
pub fn wasm_bindgen() -> Result<Tool> {
    ensure(&Recipe {
        package: "wasm-bindgen-cli",
        program: "wasm-bindgen",
        version: &workspace::locked_version("wasm-bindgen")?,
        why: "connects WebAssembly and JavaScript",
        minutes: 3,
        // Not --locked: its lock file may name a dependency that crates.io mirrors no longer serve.
        arguments: &[],
        // Optimized a little, as an unoptimized one takes minutes over a large module; without LTO
        // it builds sooner.
        environment: &[
            ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
            ("CARGO_PROFILE_RELEASE_LTO", "off"),
            ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
        ],
    })
}

/// Licenses, sources and doubled dependencies.
pub fn cargo_deny() -> Result<Tool> {
    ensure(&Recipe {
        package: "cargo-deny",
        program: "cargo-deny",
        version: CARGO_DENY,
        why: "checks dependencies' licenses and sources",
        minutes: 4,
        arguments: &["--debug", "--locked"],
        environment: &[("CARGO_PROFILE_DEV_DEBUG", "0")],
    })
}

pub fn geckodriver() -> Result<Tool> {
    ensure(&Recipe {
        package: "geckodriver",
        program: "geckodriver",
        version: GECKODRIVER,
        why: "drives Firefox",
        minutes: 3,
        arguments: &["--debug", "--locked"],
        environment: &[("CARGO_PROFILE_DEV_DEBUG", "0")],
    })
}

const MDBOOK: Recipe = Recipe {
    package: "mdbook",
    program: "mdbook",
    version: "0.5.4",
    why: "builds the book in docs/",
    minutes: 3,
    // Without its server and file watcher.
    arguments: &[
        "--debug",
        "--locked",
        "--no-default-features",
        "--features",
        "search",
    ],
    environment: &[("CARGO_PROFILE_DEV_DEBUG", "0")],
};

pub fn mdbook() -> Result<Tool> {
    ensure(&MDBOOK)
}

/// mdBook, if it need not be installed first.
pub fn installed_mdbook() -> Result<Option<Tool>> {
    installed(&MDBOOK)
}

struct Recipe<'a> {
    package: &'a str,
    program: &'a str,
    version: &'a str,
    why: &'a str,
    minutes: u32,
    arguments: &'a [&'a str],
    environment: &'a [(&'a str, &'a str)],
}

impl Recipe<'_> {
    /// Where it is installed, in the tools' folder.
    fn root(&self, tools: &Path) -> PathBuf {
        tools.join(format!("{}-{}", self.package, self.version))
    }

    fn cached(&self, tools: &Path) -> PathBuf {
        let file = format!("{}{}", self.program, std::env::consts::EXE_SUFFIX);
        self.root(tools).join("bin").join(file)
    }
}

fn installed(recipe: &Recipe) -> Result<Option<Tool>> {
    let cached = recipe.cached(&workspace::cache()?.join("tools"));
    let mut programs = find(recipe.program).into_iter().chain([cached]);
    let fitting = programs.find(|program| has_version(program, recipe.version));
    Ok(fitting.map(|program| Tool { program }))
}

fn ensure(recipe: &Recipe) -> Result<Tool> {
    if let Some(tool) = installed(recipe)? {
        return Ok(tool);
    }
    let tools = workspace::cache()?.join("tools");
    let (root, cached) = (recipe.root(&tools), recipe.cached(&tools));
    let Recipe {
        package,
        version,
        why,
        minutes,
        ..
    } = recipe;
    let crate_version = format!("{package}@{version}");

    if output(Command::new("cargo").args(["binstall", "-V"])).is_some() {
        step(&format!(
            "installing {crate_version} into {}: it {why}",
            root.display()
        ));
        let mut binstall = Command::new("cargo");
        binstall
            .args(["binstall", "--no-confirm", "--root"])
            .arg(&root)
            .arg(&crate_version);
        match run(&mut binstall) {
            Ok(()) if has_version(&cached, version) => return Ok(Tool { program: cached }),
            Ok(()) => println!("    it installed another version; building it instead"),
            Err(error) => println!("    {error:#}; building it instead"),
        }
    }

    step(&format!(
        "building {crate_version} into {} (about {minutes} minutes on 2 cores, once): it {why}",
        root.display()
    ));
    let build = tools.join("build");
    let mut install = Command::new("cargo");
    install
        .args(["install", &crate_version, "--force", "--root"])
        .arg(&root)
        .args(recipe.arguments);
    install.current_dir(create(&tools)?);
    install.envs(recipe.environment.iter().copied());
    install
        .env("CARGO_TARGET_DIR", &build)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    // cargo would say that the folder is not on PATH; nothing here needs it to be.
    install.env("PATH", crate::shell::path_with(&[&root.join("bin")])?);
    let installed = run(&mut install);
    fs::remove_dir_all(&build).ok();
    installed.with_context(|| {
        format!(
            "building {crate_version}; a prebuilt {} on PATH serves as well",
            recipe.program
        )
    })?;
    Ok(Tool { program: cached })
}

fn create(folder: &Path) -> Result<&Path> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// Programs answer `--version` with "name version"; mdBook puts a v before it.
fn has_version(program: &Path, version: &str) -> bool {
    output(Command::new(program).arg("--version")).is_some_and(|text| {
        let found = text.split_whitespace().nth(1);
        found.map(|found| found.trim_start_matches('v')) == Some(version)
    })
}
