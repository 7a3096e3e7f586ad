//! `onebit download`: data sets from a hub with Hugging Face's layout.

mod catalogue;
mod checksum;
mod fetch;
mod parquet;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::catalogue::File;
use self::fetch::Fetcher;
pub use self::fetch::NotFound;
use self::parquet::Rows;
use crate::args::Download;
use crate::output::errln;
use crate::progress;
use ternary::words::counted;

pub fn run(a: &Download) -> Result<()> {
    let dataset = catalogue::find(&a.dataset, &a.file, a.revision.as_deref())?;
    let hub = Hub::new(&a.endpoint, a.retry_pause)?;
    let dir = match &a.output_dir {
        Some(dir) => dir.clone(),
        None => Path::new("data").join(&dataset.name),
    };
    let repo = format!("datasets/{}", dataset.repo);
    let texts = in_folder(&dir, || {
        let files = dataset.files.iter();
        files
            .map(|file| get(&hub, &repo, &dataset.revision, file, &dir))
            .collect::<Result<Vec<_>>>()
    })?;
    errln!("source: {}/{repo}", hub.endpoint);
    errln!("license: {}", dataset.license);
    if let Some(first) = texts.first() {
        errln!(
            "next: onebit tokenize --data-dir {} --tokenizer {} --train-vocab 4096 --output {}",
            first.display(),
            dir.join("tok.json").display(),
            first.with_extension("tokens").display()
        );
    }
    Ok(())
}

/// Do something in a folder that is made for it, and removed again if nothing came into it.
pub fn in_folder<T>(dir: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let missing = dir
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    let made: Vec<PathBuf> = missing.map(Path::to_owned).collect();
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    work().inspect_err(|_| {
        // A folder with something in it stays.
        made.iter().for_each(|folder| {
            let _ = std::fs::remove_dir(folder);
        });
    })
}

/// A server with Hugging Face's layout.
pub struct Hub {
    pub endpoint: String,
    fetcher: Fetcher,
}

impl Hub {
    /// HF_TOKEN is sent along if it is set.
    pub fn new(endpoint: &str, retry_pause: u64) -> Result<Self> {
        let endpoint = endpoint.trim_end_matches('/');
        ensure!(
            endpoint.starts_with("http://") || endpoint.starts_with("https://"),
            "the endpoint `{endpoint}` is no URL; expected https://HOST"
        );
        let token = std::env::var("HF_TOKEN").ok().filter(|t| !t.is_empty());
        if token.is_some() && !endpoint.starts_with("https://") {
            errln!("warning: HF_TOKEN is not sent to {endpoint}: it is not https");
        }
        Ok(Hub {
            endpoint: endpoint.to_owned(),
            fetcher: Fetcher::new(token, Duration::from_millis(retry_pause)),
        })
    }

    /// The paths of all files of a model's repository; `None` from a server that has no such list.
    pub fn files(&self, repo: &str, revision: &str) -> Result<Option<Vec<String>>> {
        let url = format!(
            "{}/api/models/{repo}/revision/{}",
            self.endpoint,
            escape(revision, false)
        );
        let text = match self.fetcher.text(&url) {
            Err(e) if e.is::<NotFound>() => return Ok(None),
            other => other?,
        };
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let files = value["siblings"].as_array().map(|all| {
            let name = |file: &serde_json::Value| file["rfilename"].as_str().map(str::to_owned);
            all.iter().filter_map(name).collect()
        });
        Ok(files)
    }

    /// Fetch the file at `path` of a repository (data sets are below `datasets/`) to `target`,
    /// unless it is there.
    pub fn fetch(&self, repo: &str, revision: &str, path: &str, target: &Path) -> Result<()> {
        let url = format!(
            "{}/{repo}/resolve/{}/{}",
            self.endpoint,
            escape(revision, false),
            escape(path, true)
        );
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let bar = progress::bar(
            0,
            "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
        )
        .with_message(name.into_owned());
        let fetched = self.fetcher.fetch(&url, target, &bar)?;
        bar.finish_and_clear();
        errln!(
            "{}: {:.2} MB{}, {}",
            target.display(),
            fetched.bytes as f64 / 1e6,
            if fetched.was_there {
                ", there already"
            } else {
                ""
            },
            match &fetched.verified {
                Some(checksum) => format!("{} verified", checksum.kind()),
                None => "size checked only: the server gives no checksum".to_owned(),
            }
        );
        Ok(())
    }
}

/// Fetch one file, and turn Parquet into text; returns the file to tokenize.
fn get(hub: &Hub, repo: &str, revision: &str, file: &File, dir: &Path) -> Result<PathBuf> {
    let target = dir.join(file.local_name());
    hub.fetch(repo, revision, &file.path, &target)?;
    if target.extension().is_none_or(|e| e != "parquet") {
        return Ok(target);
    }
    let (text, rows) = match &file.text {
        Some(name) => (dir.join(name), Rows::Text { blank: &file.blank }),
        None => (target.with_extension("jsonl"), Rows::Documents),
    };
    let count = parquet::convert(&target, &text, rows)?;
    errln!("{}: {}", text.display(), counted(count, "row"));
    Ok(text)
}

/// Percent-encode what a path of a URL may not hold.
fn escape(text: &str, keep_slashes: bool) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(b).to_string()
            }
            b'/' if keep_slashes => "/".to_owned(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
