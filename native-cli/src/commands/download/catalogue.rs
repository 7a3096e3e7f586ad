//! The data sets known by name: `catalogue.json`, easy to mend when a hub moves its files.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// A data set repository of a hub and the files wanted from it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    pub name: String,
    /// `owner/name` on the hub.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
    pub license: String,
    pub files: Vec<File>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Inside the repository.
    pub path: String,
    /// Write the `text` column of a Parquet file, row after row, into this text file.
    pub text: Option<String>,
    /// What an empty row stands for in the text.
    #[serde(default)]
    pub blank: String,
}

impl File {
    /// Name on disk: the path's, with its folders joined into it so that two files never share one.
    pub fn local_name(&self) -> String {
        self.path.replace(['/', '\\'], "-")
    }
}

pub fn all() -> Result<Vec<Dataset>> {
    serde_json::from_str(include_str!("catalogue.json")).context("catalogue.json")
}

/// A data set by its name in the catalogue, or any repository with `files` named.
pub fn find(name: &str, files: &[String], revision: Option<&str>) -> Result<Dataset> {
    let known = all()?;
    let mut found = match known.iter().find(|d| d.name == name) {
        Some(dataset) => dataset.clone(),
        None if !name.contains('/') => {
            let names: Vec<&str> = known.iter().map(|d| d.name.as_str()).collect();
            bail!(
                "unknown data set `{name}`; known: {}. Any other of the hub is named owner/name, with --file",
                names.join(", ")
            );
        }
        None => Dataset {
            name: name.rsplit('/').next().unwrap_or(name).to_owned(),
            repo: name.to_owned(),
            revision: "main".into(),
            license: "see the source".into(),
            files: Vec::new(),
        },
    };
    if !files.is_empty() {
        let plain = |path: &String| File {
            path: path.clone(),
            text: None,
            blank: String::new(),
        };
        found.files = files.iter().map(plain).collect();
    }
    if found.files.is_empty() {
        bail!("{name}: name the files wanted with --file PATH (once for each)");
    }
    if let Some(revision) = revision {
        found.revision = revision.into();
    }
    Ok(found)
}
