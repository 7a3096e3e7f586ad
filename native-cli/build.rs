//! Lists the files of the built page, if `ONEBIT_PAGE_DIR` names its folder (from the repository's
//! root), so that `onebit serve` carries them.
#![allow(clippy::print_stdout, reason = "how a build script speaks with cargo")]

use std::path::{Path, PathBuf};
use std::{env, fs, io};

const VARIABLE: &str = "ONEBIT_PAGE_DIR";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    let mut list = String::from("&[\n");
    if let Some(folder) = env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        // A build script runs in the package's folder, who starts cargo is in the repository's.
        let root = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
        let folder = fs::canonicalize(Path::new(&root).join("..").join(&folder))
            .map_err(|e| io::Error::other(format!("{VARIABLE}={}: {e}", folder.display())))?;
        println!("cargo::rerun-if-changed={}", folder.display());
        for path in files(&folder)? {
            let name = path.strip_prefix(&folder).unwrap_or(&path).display();
            let name = name.to_string().replace('\\', "/");
            let path = path.display().to_string();
            list += &format!("    ({name:?}, include_bytes!({path:?})),\n");
        }
    }
    list += "]\n";
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("page.rs"), list)
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    Ok(files)
}
