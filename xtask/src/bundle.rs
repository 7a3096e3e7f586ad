//! `cargo xtask build-web`: the release page and its size.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

use crate::setup::{self, PageTools};
use crate::shell::{path_with, run, step};
use crate::workspace;

/// What a visitor downloads before the model, and what later, at once: every script and WebAssembly
/// module, compressed.
const BUDGET_BYTES: usize = 2_500_000;
/// What comes later, by the beginnings of names, and when.
const LATER: [(&str, &str); 4] = [
    ("markdown", "when the first reply is shown"),
    ("full-worker", "when the first model is changed"),
    ("grammar", "with the first reply that must have a form"),
    ("parquet", "with the first data set in Parquet"),
];
/// In the names of what a browser with relaxed SIMD fetches in place of the file without it.
const RELAXED: &str = "-relaxed";

/// The hosts of the hub in the page's Content-Security-Policy.
const HUB_HOSTS: &str = " https://huggingface.co https://*.huggingface.co https://*.hf.co";

pub fn set_up_and_build() -> Result<()> {
    build(&setup::page_tools()?)
}

/// A page that asks no other site for anything, and is not allowed to.
pub fn set_up_and_build_without_hub() -> Result<()> {
    set_up_and_build()?;
    step("taking the hub out of the page");
    let page = workspace::dist().join("index.html");
    let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    ensure!(
        text.contains(HUB_HOSTS),
        "{} names no hosts of the hub in its Content-Security-Policy",
        page.display()
    );
    fs::write(&page, text.replace(HUB_HOSTS, ""))?;
    let list = workspace::dist().join("models/catalogue.json");
    let text = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    fs::write(&list, without_hub(&text)?)?;
    Ok(())
}

/// A catalogue without the hub and its models.
fn without_hub(catalogue: &str) -> Result<String> {
    let mut catalogue: Value = serde_json::from_str(catalogue).context("models/catalogue.json")?;
    let fields = catalogue.as_object_mut().context("no object")?;
    fields.remove("hub");
    let models = fields.get_mut("models").and_then(Value::as_array_mut);
    let models = models.context("no models")?;
    models.retain(|model| model.get("repository").is_none());
    Ok(serde_json::to_string_pretty(&catalogue)? + "\n")
}

pub fn build(tools: &PageTools) -> Result<()> {
    step("building the page");
    run(trunk(tools)?.args(["build", "--release"]))?;
    strip_scripts()?;
    check_size()
}

/// Takes comments and indentation out of the scripts that connect the workers' programs, which
/// wasm-bindgen writes for readers. The page's own is left as it is: index.html has its hash.
fn strip_scripts() -> Result<()> {
    for entry in fs::read_dir(workspace::dist())? {
        let path = entry?.path();
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        let program = path.with_file_name(format!("{stem}_bg.wasm"));
        if path.extension().is_some_and(|end| end == "js")
            && program.is_file()
            && !stem.starts_with("app-")
        {
            fs::write(&path, stripped(&fs::read_to_string(&path)?))?;
        }
    }
    Ok(())
}

/// A script without lines that are comments, and without indentation.
fn stripped(script: &str) -> String {
    // Inside of a text of several lines both would be part of it.
    if script
        .lines()
        .any(|line| line.matches('`').count() % 2 == 1)
    {
        return script.to_owned();
    }
    let (mut out, mut comment) = (String::new(), false);
    for line in script.lines().map(str::trim) {
        comment |= line.starts_with("/*");
        if !comment && !line.is_empty() && !line.starts_with("//") {
            out += line;
            out.push('\n');
        }
        comment &= !line.ends_with("*/");
    }
    out
}

/// trunk with its tools on PATH and the right compiler.
pub fn trunk(tools: &PageTools) -> Result<Command> {
    let mut trunk = Command::new(&tools.trunk.program);
    trunk.current_dir(workspace::root());
    // Its errors are the compiler's, already printed; a backtrace of trunk itself would bury them.
    trunk.env_remove("RUST_BACKTRACE");
    trunk.env("PATH", path_with(&[tools.wasm_bindgen.folder()])?);
    tools.toolchain.select(&mut trunk);
    Ok(trunk)
}

fn check_size() -> Result<()> {
    let dist = workspace::dist();
    let mut files = Vec::new();
    for entry in fs::read_dir(&dist).with_context(|| format!("reading {}", dist.display()))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm" || extension == "js")
        {
            files.push(path);
        }
    }
    files.sort();
    ensure!(
        !files.is_empty(),
        "{} has neither .wasm nor .js files",
        dist.display()
    );

    let mut first = files;
    let mut checks = Vec::new();
    for (start, when) in LATER {
        let later = |path: &mut PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(start)
        };
        checks.push((first.extract_if(.., later).collect::<Vec<_>>(), when));
    }
    check(&first, "before the model")?;
    for (files, when) in checks {
        check(&files, when)?;
    }
    Ok(())
}

/// Prints the sizes of what is fetched at once, and holds them against the budget.
fn check(files: &[PathBuf], when: &str) -> Result<()> {
    step(&format!(
        "the page's code fetched {when} (bytes, and gzipped)"
    ));
    let mut sizes = Vec::new();
    for path in files {
        let bytes = fs::read(path)?;
        let compressed = gzipped_length(&bytes)?;
        let name = path
            .file_name()
            .unwrap_or(Path::new("").as_os_str())
            .to_string_lossy();
        println!("    {name:<40} {:>10} {compressed:>10}", bytes.len());
        sizes.push((name.into_owned(), compressed));
    }
    let total_of = |fetched: &dyn Fn(&str) -> bool| -> usize {
        let fetched = sizes.iter().filter(|(name, _)| fetched(name));
        fetched.map(|(_, size)| size).sum()
    };
    let replaced: Vec<String> = sizes
        .iter()
        .filter(|(name, _)| name.contains(RELAXED))
        .map(|(name, _)| name.replace(RELAXED, ""))
        .collect();
    let strict = total_of(&|name| !name.contains(RELAXED));
    let relaxed = total_of(&|name| !replaced.iter().any(|file| file == name));
    let total = strict.max(relaxed);
    println!(
        "    {:<40} {:>10} {total:>10}",
        "all that one browser fetches", ""
    );
    ensure!(
        total <= BUDGET_BYTES,
        "the page's code fetched {when} is {total} bytes gzipped, its budget is {BUDGET_BYTES}"
    );
    Ok(())
}

fn gzipped_length(bytes: &[u8]) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_the_hub_has_none_of_its_models() -> Result<()> {
        let root = workspace::root();
        let list = fs::read_to_string(root.join("web/models/catalogue.json"))?;
        let left = without_hub(&list)?;
        assert!(!left.contains("huggingface") && !left.contains("repository"));
        assert!(left.contains("\"shipped\": true"));
        // What is replaced is there.
        assert!(fs::read_to_string(root.join("index.html"))?.contains(HUB_HOSTS));
        Ok(())
    }

    #[test]
    fn scripts_lose_comments_and_indentation_and_nothing_else() {
        let script = "/**\n * What it does.\n */\nexport function a() {\n    // Why.\n    return '// no comment';\n\n}\n/* One line. */\nb();\n";
        let bare = "export function a() {\nreturn '// no comment';\n}\nb();\n";
        assert_eq!(stripped(script), bare);
        let text = "const text = `first\n    // second`;\n";
        assert_eq!(stripped(text), text);
    }
}
