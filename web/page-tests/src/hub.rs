//! A hub of models on an origin of its own, which speaks the paths of huggingface.co: listings with
//! sizes and checksums, and files behind a redirect, in parts.

use anyhow::Result;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::server::{Asked, Served, Server};

/// What revision `main` is.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

pub struct Hub {
    pub server: Server,
}

impl Hub {
    pub fn start() -> Result<Self> {
        let server = Server::start_for_all()?;
        Ok(Self { server })
    }

    /// "http://127.0.0.1:port"
    pub fn origin(&self) -> &str {
        self.server.origin()
    }

    /// Gives a repository these files.
    pub fn add(&self, repo: &str, license: &str, files: Vec<(&str, Vec<u8>)>) -> Result<()> {
        let mut siblings = Vec::new();
        for (name, content) in files {
            let digest = Sha256::digest(&content);
            let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            siblings.push(json!({
                "rfilename": name,
                "size": content.len(),
                "lfs": { "sha256": sha256, "size": content.len() },
            }));
            let stored = Self::stored(repo, name);
            self.server.serve(
                &format!("/{repo}/resolve/{COMMIT}/{name}"),
                Served {
                    redirect: Some(stored.clone()),
                    ..Served::default()
                },
            )?;
            self.server.add(&stored, content)?;
        }
        let listing = json!({
            "id": repo,
            "sha": COMMIT,
            "siblings": siblings,
            "cardData": { "license": license },
        });
        let path = format!("/api/models/{repo}/revision/main");
        self.server.add(&path, listing.to_string())
    }

    /// Where a file's bytes are.
    fn stored(repo: &str, name: &str) -> String {
        format!("/stored/{repo}/{name}")
    }

    /// The requests for a file's bytes so far.
    pub fn asked(&self, repo: &str, name: &str) -> Vec<Asked> {
        self.server.asked(&Self::stored(repo, name))
    }

    /// Serves a file's bytes in another way.
    pub fn serve(&self, repo: &str, name: &str, served: Served) -> Result<()> {
        self.server.serve(&Self::stored(repo, name), served)
    }
}
