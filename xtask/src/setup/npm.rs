//! Packages of the npm registry that tests and comparisons use: fetched once, checked, kept below
//! target/. Never part of the page.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::shell::{run, step};
use crate::workspace;

pub struct Package {
    /// With its scope, if it has one.
    pub name: &'static str,
    pub version: &'static str,
    /// Of the package as the registry has it.
    pub sha256: &'static str,
    /// What it is for.
    pub purpose: &'static str,
}

impl Package {
    /// The folder of its files.
    pub fn fetch(&self) -> Result<PathBuf> {
        let short = self.name.rsplit('/').next().unwrap_or(self.name);
        let place = workspace::root().join("target").join(short);
        let folder = place.join(self.version);
        if folder.is_dir() {
            return Ok(folder);
        }
        let url = format!(
            "https://registry.npmjs.org/{}/-/{short}-{}.tgz",
            self.name, self.version
        );
        step(&format!(
            "fetching {} {} into {}: {}",
            self.name,
            self.version,
            place.display(),
            self.purpose
        ));
        fs::create_dir_all(&place)?;
        let archive = place.join("package.tgz");
        run(Command::new("curl")
            .args([
                "--fail",
                "--silent",
                "--show-error",
                "--location",
                "--retry",
                "3",
                "--output",
            ])
            .arg(&archive)
            .arg(&url))?;
        self.check(&archive)
            .with_context(|| format!("{url} is not what it was"))?;
        run(Command::new("tar")
            .arg("-xzf")
            .arg(&archive)
            .arg("-C")
            .arg(&place))?;
        // Named last: a set-up that was interrupted begins again.
        fs::rename(place.join("package"), &folder)?;
        fs::remove_file(archive)?;
        Ok(folder)
    }

    fn check(&self, archive: &Path) -> Result<()> {
        let found: String = Sha256::digest(fs::read(archive)?)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        ensure!(
            found == self.sha256,
            "SHA-256 {found}, expected {}",
            self.sha256
        );
        Ok(())
    }
}
