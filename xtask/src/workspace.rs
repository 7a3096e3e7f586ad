//! Where things are: the repository, the per-user cache, the versions Cargo.lock holds.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The repository's root.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The built page.
pub fn dist() -> PathBuf {
    root().join("dist")
}

/// `$XDG_CACHE_HOME/ternary-core`, by default `~/.cache/ternary-core`.
pub fn cache() -> Result<PathBuf> {
    let from_environment = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = if let Some(cache) = from_environment("XDG_CACHE_HOME") {
        PathBuf::from(cache)
    } else if let Some(local) = from_environment("LOCALAPPDATA") {
        PathBuf::from(local)
    } else if let Some(home) = from_environment("HOME") {
        PathBuf::from(home).join(".cache")
    } else {
        bail!(
            "none of XDG_CACHE_HOME, LOCALAPPDATA and HOME is set: set one, the tools are kept below it"
        );
    };
    Ok(base.join("ternary-core"))
}

/// The version of `package` in Cargo.lock.
pub fn locked_version(package: &str) -> Result<String> {
    let path = root().join("Cargo.lock");
    let lock = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let name = format!("name = \"{package}\"");
    lock.lines()
        .skip_while(|line| *line != name)
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .with_context(|| format!("{} has no package `{package}`", path.display()))
}
