//! Clients that people use: the packages `openai` and `anthropic` of PyPI, and `openai` of npm.
//! `cargo xtask setup` installs them; where they are not, the tests say so.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::{Server, models};

/// Where the packages are: a folder with `venv` and `node_modules`.
fn clients() -> Option<PathBuf> {
    let given = std::env::var_os("ONEBIT_CLIENTS").map(PathBuf::from);
    let cache = || {
        let cache = std::env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty());
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        Some(
            cache
                .map(PathBuf::from)
                .or(home)?
                .join("ternary-core/clients"),
        )
    };
    given.or_else(cache).filter(|folder| folder.is_dir())
}

/// Run a script of `tests/clients` against a server with both scripted models.
fn script(name: &str, program: impl FnOnce(&Path) -> Command, there: &str) {
    let Some(folder) = clients().filter(|folder| folder.join(there).exists()) else {
        eprintln!("SKIPPED: {name}: its packages are not there; `cargo xtask setup` installs them");
        return;
    };
    let server = Server::start(
        models(),
        &["--model", "m=m.1bit", "--model", "caller=caller.1bit"],
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name);
    let mut command = program(&folder);
    command.arg(path).arg(format!("http://{}", server.address));
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{name}: {}{}\n{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
        server.said()
    );
}

fn python(folder: &Path) -> Command {
    Command::new(folder.join("venv/bin/python"))
}

#[test]
fn openai_of_python() {
    script("openai_client.py", python, "venv/bin/python");
}

#[test]
fn anthropic_of_python() {
    script("anthropic_client.py", python, "venv/bin/python");
}

#[test]
fn openai_of_npm() {
    let node = |folder: &Path| {
        let mut node = Command::new("node");
        node.env("NODE_MODULES", folder.join("node_modules"));
        node
    };
    script("openai_client.mjs", node, "node_modules/openai");
}
