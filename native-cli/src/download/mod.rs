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
use self::parquet::Rows;
use crate::args::Download;
use crate::progress;

pub fn run(a: &Download) -> Result<()> {
    let dataset = catalogue::find(&a.dataset, &a.file, a.revision.as_deref())?;
    let endpoint = a.endpoint.trim_end_matches('/');
    ensure!(
        endpoint.starts_with("http://") || endpoint.starts_with("https://"),
        "the endpoint `{endpoint}` is no URL; expected https://HOST"
    );
    let dir = match &a.output_dir {
        Some(dir) => dir.clone(),
        None => Path::new("data").join(&dataset.name),
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let token = std::env::var("HF_TOKEN").ok().filter(|t| !t.is_empty());
    let fetcher = Fetcher::new(token, Duration::from_millis(a.retry_pause));
    let mut texts = Vec::new();
    for file in &dataset.files {
        let url = format!(
            "{endpoint}/datasets/{}/resolve/{}/{}",
            dataset.repo,
            escape(&dataset.revision, false),
            escape(&file.path, true)
        );
        texts.push(get(&fetcher, &url, file, &dir)?);
    }
    eprintln!("source: {endpoint}/datasets/{}", dataset.repo);
    eprintln!("licence: {}", dataset.licence);
    if let Some(first) = texts.first() {
        eprintln!(
            "next: onebit tokenize --data-dir {} --tokenizer {} --train-vocab 4096 --output {}",
            first.display(),
            dir.join("tok.json").display(),
            first.with_extension("tokens").display()
        );
    }
    Ok(())
}

/// Fetch one file, and turn Parquet into text; returns the file to tokenize.
fn get(fetcher: &Fetcher, url: &str, file: &File, dir: &Path) -> Result<PathBuf> {
    let target = dir.join(file.local_name());
    let bar = progress::bar(
        0,
        "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
    )
    .with_message(file.local_name());
    let fetched = fetcher.fetch(url, &target, &bar)?;
    bar.finish_and_clear();
    eprintln!(
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
    if target.extension().is_none_or(|e| e != "parquet") {
        return Ok(target);
    }
    let (text, rows) = match &file.text {
        Some(name) => (dir.join(name), Rows::Text { blank: &file.blank }),
        None => (target.with_extension("jsonl"), Rows::Documents),
    };
    let count = parquet::convert(&target, &text, rows)?;
    eprintln!("{}: {count} rows", text.display());
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
