//! A page that uses the npm package, built as people build theirs: the page's tests open it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::shell::{find, run, step};
use crate::workspace;

/// Versions of the tools, so that a check means the same tomorrow.
const TOOLS: [&str; 3] = ["vite@8.4.0", "webpack@5.113.0", "webpack-cli@6.0.1"];

/// Builds the page with each of them into `target/bundled/`; where they cannot be had, says so, and
/// the tests are skipped.
pub fn build(package: &Path) -> Result<()> {
    let folder = workspace::root().join("target/bundled");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    match tools() {
        Ok(tools) => build_with(&tools, package, &folder),
        Err(problem) => {
            println!("    SKIPPED: Vite and webpack are not there: {problem:#}");
            Ok(())
        }
    }
}

/// Their folder, filled if need be.
fn tools() -> Result<std::path::PathBuf> {
    let folder = workspace::cache()?.join("bundlers");
    let wanted = TOOLS.join(" ");
    let note = folder.join("versions");
    if fs::read_to_string(&note).is_ok_and(|made| made == wanted) {
        return Ok(folder);
    }
    ensure!(find("npm").is_some(), "there is no npm");
    step(&format!(
        "fetching Vite and webpack into {}: they bundle a page with the npm package",
        folder.display()
    ));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    run(Command::new("npm")
        .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
        .arg(&folder)
        .args(TOOLS))?;
    fs::write(note, wanted)?;
    Ok(folder)
}

fn build_with(tools: &Path, package: &Path, folder: &Path) -> Result<()> {
    step("a page with the npm package, by Vite and by webpack");
    let app = folder.join("app");
    let installed = app.join("node_modules/ternary-core");
    fs::create_dir_all(&installed)?;
    let own = workspace::root().join("web/package/bundled");
    for name in ["index.html", "main.js"] {
        fs::copy(own.join(name), app.join(name)).with_context(|| name.to_owned())?;
    }
    fs::write(app.join("package.json"), r#"{ "type": "module" }"#)?;
    for file in fs::read_dir(package)? {
        let file = file?;
        fs::copy(file.path(), installed.join(file.file_name()))?;
    }
    let run_tool = |name: &str, arguments: &[&str]| {
        let script = tools.join("node_modules").join(name);
        run(Command::new("node")
            .current_dir(&app)
            .arg(script)
            .args(arguments))
    };
    let to = |name: &str| folder.join(name).display().to_string();
    let vite = to("vite");
    run_tool(
        "vite/bin/vite.js",
        &[
            "build",
            "--outDir",
            &vite,
            "--emptyOutDir",
            "--logLevel",
            "warn",
        ],
    )?;
    let webpack = to("webpack");
    // A bundle in its default form is no module.
    run_tool(
        "webpack-cli/bin/cli.js",
        &[
            "--mode",
            "production",
            "--entry",
            "./main.js",
            "--output-path",
            &webpack,
            "--stats",
            "errors-only",
        ],
    )?;
    fs::copy(own.join("index.html"), folder.join("webpack/index.html"))?;
    Ok(())
}
