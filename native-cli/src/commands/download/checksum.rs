//! What a hub's ETag says of a file: the SHA-256 of large files, the Git blob's SHA-1 of others.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha1::Sha1;
use sha2::{Digest, Sha256};

#[derive(Clone, Debug, PartialEq)]
pub enum Checksum {
    Sha256(String),
    /// SHA-1 of `blob LENGTH\0` and the content.
    GitBlob(String),
}

impl Checksum {
    /// From an ETag, with or without quotes; `None` for ETags that are no checksum.
    pub fn from_etag(etag: &str) -> Option<Self> {
        let text = etag
            .trim_start_matches("W/")
            .trim_matches('"')
            .to_ascii_lowercase();
        if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        match text.len() {
            64 => Some(Checksum::Sha256(text)),
            40 => Some(Checksum::GitBlob(text)),
            _ => None,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Checksum::Sha256(_) => "SHA-256",
            Checksum::GitBlob(_) => "Git SHA-1",
        }
    }

    /// Read the file and compare.
    pub fn verify(&self, path: &Path) -> Result<()> {
        let file = || File::open(path).with_context(|| format!("cannot read {}", path.display()));
        let (expected, found) = match self {
            Checksum::Sha256(expected) => (expected, digest(Sha256::new(), file()?)?),
            Checksum::GitBlob(expected) => {
                let file = file()?;
                let head = format!("blob {}\0", file.metadata()?.len());
                (expected, digest(Sha1::new_with_prefix(head), file)?)
            }
        };
        ensure!(
            *expected == found,
            "the {} is {found}, the hub says {expected}",
            self.kind()
        );
        Ok(())
    }
}

fn digest<D: Digest>(mut hash: D, mut file: File) -> Result<String> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}
