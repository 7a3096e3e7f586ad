//! Models from this page's own site, into this browser's store.

use std::time::Duration;

use js_sys::{Array, Uint8Array};
use serde::Deserialize;
use ternary::platform::Instant;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, ReadableStreamDefaultReader, RequestInit};

use super::Job;
use super::beginning::Beginning;
use super::http::{self, is_final, ok, pair, request};
use super::store::{self, Card, Store, Writer};
use crate::js::{describe, field};
use crate::protocol::{KeptModel, Response, Source, kept_id};

const FOLDER: &str = "models/";
const NOT_FOUND: u16 = 404;
const PARTIAL: u16 = 206;
/// Attempts that bring not a byte before a download is given up.
const ATTEMPTS: usize = 4;
/// Before another attempt.
const PAUSE: Duration = Duration::from_millis(700);
/// What a server may take to say whether a kept file is still the one it has.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// `models/index.json`.
#[derive(Deserialize)]
struct Index {
    /// File name, in the same folder.
    default: String,
}

/// The address of the model that comes with this page, if one does.
pub async fn shipped() -> Result<Option<String>, String> {
    let url = http::address(&format!("{FOLDER}index.json"))?;
    let response = request(&url, RequestInit::new()).await?;
    if response.status() == NOT_FOUND {
        return Ok(None);
    }
    let text = JsFuture::from(ok(&response, &url)?.text().map_err(describe)?)
        .await
        .map_err(describe)?
        .as_string()
        .unwrap_or_default();
    let index: Index =
        serde_json::from_str(&text).map_err(|problem| format!("{url}: {problem}"))?;
    Ok(Some(format!("{FOLDER}{}", index.default)))
}

/// A model's bytes, and where they are kept if they are.
pub struct Fetched {
    pub blob: Blob,
    pub kept: Option<KeptModel>,
    /// It came just now.
    pub fresh: bool,
}

/// What a server says about a file: enough to tell whether two answers are about the same bytes.
#[derive(Clone, Default, PartialEq)]
struct Version {
    /// ETag or date.
    tag: Option<String>,
    /// 0: not said.
    bytes: u64,
}

impl Version {
    fn of(response: &web_sys::Response) -> Self {
        let header = |name: &str| response.headers().get(name).ok().flatten();
        // The length of what is compressed on the way says nothing.
        let plain = header("content-encoding").is_none();
        let length = match header("content-range") {
            Some(range) => range.rsplit('/').next().map(str::to_owned),
            None => header("content-length").filter(|_| plain),
        };
        Self {
            // A weak tag stands for bytes that may differ.
            tag: header("etag")
                .filter(|tag| !tag.starts_with("W/"))
                .or_else(|| header("last-modified")),
            bytes: length.and_then(|text| text.parse().ok()).unwrap_or(0),
        }
    }
}

/// A model from the store if this version of it is there, else downloaded into it, from where an
/// earlier attempt ended.
pub async fn model(url: &str, job: &Job) -> Result<Fetched, String> {
    let url = http::address(url)?;
    // A browser that keeps nothing holds the bytes for as long as the page is open.
    let store = Store::open().await.ok();
    let kept = match &store {
        Some(store) => store.of_url(&url).await.map(|kept| (store, kept)),
        None => None,
    };
    let patience = kept.is_some().then_some(PATIENCE);
    let asked = http::request_within(&url, http::options("HEAD", &job.cancel), patience).await;
    let mut version = match (&asked, kept) {
        (Ok(response), _) if response.ok() => Version::of(response),
        // Offline, or gone from there: what is kept is what there is.
        (_, Some((store, kept))) => return from_store(store, kept, false).await,
        _ => Version::default(),
    };
    loop {
        match download(&url, &version, store.as_ref(), job).await {
            Ok(fetched) => return Ok(fetched),
            Err(Broken::Changed(newer)) => version = newer,
            Err(Broken::Off(problem) | Broken::Refused(problem)) => return Err(problem),
        }
    }
}

/// Why a download ended early.
enum Broken {
    /// The file is another than it was.
    Changed(Version),
    /// Another attempt may go on.
    Off(String),
    /// Another would be answered the same.
    Refused(String),
}

impl From<String> for Broken {
    fn from(problem: String) -> Self {
        Broken::Off(problem)
    }
}

async fn download(
    url: &str,
    version: &Version,
    store: Option<&Store>,
    job: &Job,
) -> Result<Fetched, Broken> {
    let name = Source::Url(url.to_owned()).name();
    let id = kept_id(&[
        url,
        version.tag.as_deref().unwrap_or_default(),
        &version.bytes.to_string(),
    ]);
    let mut card = Card {
        name,
        url: Some(url.to_owned()),
        bytes: version.bytes,
        repository: None,
        adapter_of: None,
        unfinished: None,
    };
    // Without room the model can still be used, as long as the page is open.
    let store = match store {
        Some(store) => {
            let kept = store.kept(&id).await;
            if let Some(kept) = kept
                .as_ref()
                .filter(|kept| kept.bytes > 0 && kept.complete())
            {
                return Ok(from_store(store, kept.clone(), false).await?);
            }
            let missing = version.bytes - kept.map_or(0, |kept| kept.present).min(version.bytes);
            store::room_for(missing).await.is_ok().then_some(store)
        }
        None => None,
    };
    let mut sink = match store {
        Some(store) => Sink::Kept(store.write(&id, &card).await?),
        None => Sink::Held(Array::new(), 0),
    };
    // What can't be told apart from another version can't be continued.
    if version.tag.is_none() || (version.bytes > 0 && sink.len() > version.bytes) {
        sink.clear()?;
    }
    let mut attempts = ATTEMPTS;
    loop {
        let before = sink.len();
        match pull(url, version, &mut sink, job).await {
            Ok(()) => break,
            Err(Broken::Changed(newer)) => {
                drop(sink);
                if let Some(store) = store {
                    store.delete(&id, &card.name).await?;
                }
                return Err(Broken::Changed(newer));
            }
            Err(Broken::Off(_))
                if !job.cancel.is_raised() && (sink.len() > before || attempts > 1) =>
            {
                attempts = if sink.len() > before {
                    ATTEMPTS
                } else {
                    attempts - 1
                };
                http::sleep(PAUSE).await;
            }
            Err(broken) => {
                let nothing = sink.len() == 0;
                drop(sink);
                if let Some(store) = store.filter(|_| nothing) {
                    // There is nothing to go on with.
                    store.delete(&id, &card.name).await.ok();
                }
                return Err(broken);
            }
        }
    }
    card.bytes = sink.len();
    match (sink, store) {
        (Sink::Kept(writer), Some(store)) => {
            if version.bytes != card.bytes {
                store.put_card(&id, &card).await?;
            }
            drop(writer);
            // Older versions of it have served their time.
            for old in store.list().await? {
                if old.url.as_deref() == Some(url) && old.id != id {
                    store.delete(&old.id, &old.name).await.ok();
                }
            }
            let kept = store.kept(&id).await.ok_or_else(|| gone(&card.name))?;
            Ok(from_store(store, kept, true).await?)
        }
        (Sink::Held(parts, _), _) => Ok(Fetched {
            blob: Blob::new_with_u8_array_sequence(&parts).map_err(describe)?,
            kept: None,
            fresh: true,
        }),
        (Sink::Kept(_), None) => Err(Broken::Off(gone(&card.name))),
    }
}

pub async fn from_store(store: &Store, kept: KeptModel, fresh: bool) -> Result<Fetched, String> {
    let file = store.file(&kept.id).await.map_err(|_| gone(&kept.name))?;
    Ok(Fetched {
        blob: file.into(),
        kept: Some(kept),
        fresh,
    })
}

pub fn gone(name: &str) -> String {
    format!("{name} is not kept in this browser any more")
}

/// Fetches what is missing in `sink`.
async fn pull(url: &str, version: &Version, sink: &mut Sink, job: &Job) -> Result<(), Broken> {
    let from = sink.len();
    if from > 0 && from == version.bytes {
        return Ok(());
    }
    let options = http::options("GET", &job.cancel);
    if let (1.., Some(tag)) = (from, &version.tag) {
        let headers = Array::of2(
            &pair("range", &format!("bytes={from}-")),
            // Another version is then sent whole.
            &pair("if-range", tag),
        );
        options.set_headers(&headers);
    }
    let response = request(url, options).await?;
    let found = match ok(&response, url) {
        Ok(response) => Version::of(response),
        Err(problem) if is_final(response.status()) => return Err(Broken::Refused(problem)),
        Err(problem) => return Err(Broken::Off(problem)),
    };
    if found != *version {
        return Err(Broken::Changed(found));
    }
    // A server that knows no ranges begins again.
    if from > 0 && response.status() != PARTIAL {
        sink.clear()?;
    }
    let total = version.bytes;
    let tell = |sink: &Sink| {
        job.responder.send(Response::Fetched {
            done: sink.len(),
            total,
        });
    };
    tell(sink);
    // What an earlier attempt left is not read again for it.
    let mut beginning = (sink.len() == 0).then(|| Beginning::of(total));
    let mut told = Instant::now();
    if let Some(body) = response.body() {
        let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
        while let Some(part) = next(&reader)
            .await
            .map_err(|problem| format!("{url}: the download broke off: {problem}"))?
        {
            if let Some(beginning) = &mut beginning
                && let Some(parts) = beginning.take(&part).await
            {
                job.responder.send(Response::Parts(parts));
            }
            sink.push(&part)?;
            if told.elapsed() >= REPORT_EVERY {
                tell(sink);
                told = Instant::now();
            }
        }
    }
    tell(sink);
    if total == 0 || sink.len() == total {
        return Ok(());
    }
    Err(Broken::Off(format!(
        "{url}: the download ended after {} of {total} bytes",
        sink.len()
    )))
}

/// Where a download goes.
enum Sink {
    Kept(Writer),
    /// Chunks and their bytes. The browser holds them, on disk where they are many.
    Held(Array, u64),
}

impl Sink {
    fn len(&self) -> u64 {
        match self {
            Sink::Kept(writer) => writer.len(),
            Sink::Held(_, bytes) => *bytes,
        }
    }

    fn push(&mut self, part: &Uint8Array) -> Result<(), String> {
        match self {
            Sink::Kept(writer) => writer.push(part)?,
            Sink::Held(parts, bytes) => {
                parts.push(part);
                *bytes += u64::from(part.byte_length());
            }
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), String> {
        match self {
            Sink::Kept(writer) => writer.clear()?,
            Sink::Held(parts, bytes) => {
                parts.set_length(0);
                *bytes = 0;
            }
        }
        Ok(())
    }
}

/// The next part of what is streamed.
pub async fn next(reader: &ReadableStreamDefaultReader) -> Result<Option<Uint8Array>, String> {
    let result = JsFuture::from(reader.read()).await.map_err(describe)?;
    if field(&result, "done").is_truthy() {
        return Ok(None);
    }
    Ok(field(&result, "value").dyn_into().ok())
}
