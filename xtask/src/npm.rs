//! What npm's own tools say of the package: that it packs, that its manifest and files fit
//! together, and that its types accept what a page writes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::shell::{run, step};
use crate::workspace;

/// Versions of the tools, so that a check means the same tomorrow.
const TYPESCRIPT: &str = "typescript@5.9";
const PUBLINT: &str = "publint@0.3";

/// Check the package in `folder`; without npm that is left out, and said.
pub fn check(folder: &Path) -> Result<()> {
    step("the npm package: packing, manifest, types");
    let found = Command::new("npm")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !found.is_ok_and(|status| status.success()) {
        println!("    SKIPPED: there is no npm here");
        return Ok(());
    }
    run(Command::new("npm").current_dir(folder).args([
        "pack",
        "--dry-run",
        "--loglevel",
        "error",
    ]))?;
    run(npx(folder, PUBLINT).args(["publint", "--strict"]))?;

    let uses = workspace::root().join("web/package/types-test/use.ts");
    let test = workspace::root().join("target/npm-types");
    fs::create_dir_all(&test)?;
    fs::copy(&uses, test.join("use.ts")).with_context(|| uses.display().to_string())?;
    fs::write(test.join("package.json"), r#"{ "type": "module" }"#)?;
    fs::write(test.join("tsconfig.json"), tsconfig(folder))?;
    run(npx(&test, TYPESCRIPT).args(["tsc", "--project", "tsconfig.json"]))
}

fn npx(folder: &Path, package: &str) -> Command {
    let mut npx = Command::new("npx");
    npx.current_dir(folder)
        .args(["--yes", "--prefer-offline", "--package", package, "--"]);
    npx
}

fn tsconfig(package: &Path) -> String {
    let path = package.display().to_string().replace('\\', "/");
    format!(
        r#"{{
  "compilerOptions": {{
    "strict": true, "noEmit": true, "target": "es2022", "module": "esnext", "types": [],
    "lib": ["es2022", "dom", "dom.iterable", "dom.asynciterable"], "moduleResolution": "bundler",
    "paths": {{ "ternary-core": ["{path}/index.d.ts"] }}
  }},
  "files": ["use.ts"]
}}
"#
    )
}
