//! Models on a hub: which files a repository has, and which of them an import takes.

use serde::Deserialize;
use ternary::hub::{Choice, Repository, choose, models, parts_of};
use wasm_bindgen_futures::JsFuture;

use super::Job;
use super::http;
use crate::js::describe;
use crate::protocol::{Files, Found, Offered, RemoteFile, Response};

const UNAUTHORIZED: u16 = 401;
const FORBIDDEN: u16 = 403;
const NOT_FOUND: u16 = 404;

/// What the hub's API says of a repository.
#[derive(Deserialize)]
struct Listing {
    /// The commit that the revision stands for.
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Listed>,
    #[serde(rename = "cardData", default)]
    card: Card,
}

#[derive(Deserialize)]
struct Listed {
    rfilename: String,
    size: Option<u64>,
    /// Of large files.
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: Option<String>,
}

#[derive(Default, Deserialize)]
struct Card {
    /// One, or a list.
    license: Option<serde_json::Value>,
}

/// Tells which files the repository at the hub has for an import.
pub async fn find(hub: &str, repository: &Repository, job: &Job) {
    match try_find(hub, repository, job).await {
        Ok(found) => job.responder.send(Response::Found(Box::new(found))),
        Err(_) if job.cancel.is_raised() => job.responder.send(Response::Cancelled),
        Err(problem) => job.responder.error(problem),
    }
}

async fn try_find(hub: &str, repository: &Repository, job: &Job) -> Result<Found, String> {
    let Repository {
        repo,
        revision,
        file,
    } = repository;
    let url = format!(
        "{hub}/api/models/{repo}/revision/{}?blobs=true",
        escape(revision)
    );
    let response = http::request(&url, http::options("GET", &job.cancel)).await?;
    match response.status() {
        UNAUTHORIZED | FORBIDDEN => {
            return Err(format!(
                "{repo} is not open to everybody: accept its terms on the hub, fetch it there or with `onebit import` and a token, \
                 and drop the file here"
            ));
        }
        NOT_FOUND => return Err(format!("the hub has no model {repo} at {revision}")),
        _ => http::ok(&response, &url)?,
    };
    let text = JsFuture::from(response.text().map_err(describe)?);
    let text = text
        .await
        .map_err(describe)?
        .as_string()
        .unwrap_or_default();
    let listing: Listing = serde_json::from_str(&text)
        .map_err(|problem| format!("{url}: the answer is not the hub's ({problem})"))?;
    let names: Vec<String> = listing
        .siblings
        .iter()
        .map(|f| f.rfilename.clone())
        .collect();
    let choice = match file {
        Some(file) => Choice {
            gguf: Some(file.clone()),
            why: String::new(),
        },
        None => choose(repo, &names).map_err(|problem| problem.to_string())?,
    };
    // A commit stays what it is while it is read.
    let commit = listing.sha.as_deref().unwrap_or(revision);
    let mut remote = Vec::new();
    for path in choice.wanted(&names) {
        let listed = listing.siblings.iter().find(|f| f.rfilename == path);
        let listed = listed.ok_or_else(|| format!("{repo} has no file {path}"))?;
        let bytes = listed
            .size
            .ok_or_else(|| format!("{url}: the answer names no size for {path}"))?;
        let parts: Vec<String> = path.split('/').map(escape).collect();
        remote.push(RemoteFile {
            name: path.rsplit('/').next().unwrap_or(&path).to_owned(),
            url: format!(
                "{hub}/{repo}/resolve/{}/{}",
                escape(commit),
                parts.join("/")
            ),
            bytes,
            sha256: listed.lfs.as_ref().and_then(|lfs| lfs.sha256.clone()),
        });
    }
    let size = |path: &String| {
        let listed = listing.siblings.iter().find(|f| f.rfilename == *path);
        listed.and_then(|listed| listed.size).unwrap_or(0)
    };
    let offered = models(&names).into_iter().map(|path| Offered {
        bytes: parts_of(&path).iter().map(size).sum(),
        is_taken: choice.gguf.as_ref() == Some(&path),
        path,
    });
    let offered = offered.collect();
    let name = match &choice.gguf {
        Some(file) => {
            let name = file.rsplit('/').next().unwrap_or(file);
            name.strip_suffix(".gguf").unwrap_or(name)
        }
        None => repo.rsplit('/').next().unwrap_or(repo),
    };
    Ok(Found {
        bytes: remote.iter().map(|file| file.bytes).sum(),
        why: choice.why,
        offered,
        license: listing
            .card
            .license
            .and_then(|license| license.as_str().map(str::to_owned)),
        files: Files {
            name: name.to_owned(),
            title: None,
            files: Vec::new(),
            remote,
            repository: Some(repository.clone()),
        },
    })
}

fn escape(part: &str) -> String {
    String::from(js_sys::encode_uri_component(part))
}
