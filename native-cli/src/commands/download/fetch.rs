//! One file over HTTP: resumed with ranges, tried again when the connection drops, verified, and
//! only then given its name.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use ureq::http::{Response, StatusCode, Uri, header};
use ureq::{Agent, Body};

use super::checksum::Checksum;
use crate::output::errln;
use ternary::platform::Lock;

/// Failures in a row, without a byte gained, before giving up.
const TRIES: u32 = 5;
/// Bytes of a file whose size the server does not give, at most.
const UNSAID: u64 = 64_000_000_000;
/// Bytes of a text that is no file, at most.
const MOST_TEXT: u64 = 64_000_000;
/// A hub answers with one redirection, a mirror with some.
const HOPS: usize = 8;
/// A connection that gives nothing for so long is given up, and the download resumed.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Fetcher {
    agent: Agent,
    token: Option<String>,
    pause: Duration,
}

/// What is known of a partly downloaded file, kept beside it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Part {
    /// ETag of the content, as the hub gives it.
    etag: Option<String>,
    /// ETag of the server that sent the bytes: says whether a range continues them.
    range_etag: Option<String>,
}

/// An answer after all redirections.
struct Answer {
    response: Response<Body>,
    part: Part,
    /// Size of the whole file.
    size: Option<u64>,
    /// The bytes begin where they were asked for.
    continues: bool,
}

/// What came of one connection.
enum Outcome {
    Complete(Option<String>),
    /// The file is not what it was, or cannot be continued.
    StartOver,
    Dropped(String),
}

pub struct Fetched {
    pub bytes: u64,
    /// `None` when the server's ETag is no checksum.
    pub verified: Option<Checksum>,
    pub was_there: bool,
}

fn text<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

impl Fetcher {
    /// `token` goes to the first host only, and never over plain HTTP; `pause` is waited before the
    /// second try, twice as long before each further one.
    pub fn new(token: Option<String>, pause: Duration) -> Self {
        let config = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_resolve(Some(Duration::from_secs(10)))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .user_agent(concat!("onebit/", env!("CARGO_PKG_VERSION")))
            .build();
        Fetcher {
            agent: config.into(),
            token,
            pause,
        }
    }

    /// Download `url` to `target`. What an interruption leaves (`target.part`) is continued.
    pub fn fetch(&self, url: &str, target: &Path, bar: &ProgressBar) -> Result<Fetched> {
        if target.is_file() {
            let part = self.request(url, 0, &Part::default())?.part;
            if let Some(checksum) = part.checksum()
                && checksum.verify(target).is_ok()
            {
                return Ok(Fetched {
                    bytes: target.metadata()?.len(),
                    verified: Some(checksum),
                    was_there: true,
                });
            }
        }
        let part = with_suffix(target, ".part");
        // Two programs that append to one file would spoil it.
        let _lock = Lock::take(
            &with_suffix(target, ".lock"),
            &format!(
                "another program is downloading {}; wait for it to end",
                target.display()
            ),
        )?;
        let (mut failures, mut most) = (0, size(&part));
        let etag = loop {
            let reason = match self.attempt(url, &part, bar) {
                Ok(Outcome::Complete(etag)) => break etag,
                Ok(Outcome::StartOver) => {
                    discard(&part);
                    "the file changed while it was downloaded".to_owned()
                }
                Ok(Outcome::Dropped(reason)) => reason,
                Err(e) => return Err(e),
            };
            let have = size(&part);
            failures = if have > most { 1 } else { failures + 1 };
            most = most.max(have);
            if failures >= TRIES {
                bail!(
                    "{url}: {reason}; given up after {TRIES} tries. What came is kept: the same command continues"
                );
            }
            bar.suspend(|| errln!("{reason}; trying again from byte {have}"));
            std::thread::sleep(self.pause * 2u32.pow(failures - 1));
        };
        let checksum = etag.as_deref().and_then(Checksum::from_etag);
        if let Some(checksum) = &checksum
            && let Err(e) = checksum.verify(&part)
        {
            discard(&part);
            return Err(e.context(format!(
                "{} is damaged and was deleted; run the same command to fetch it again",
                target.display()
            )));
        }
        let file = File::open(&part)?;
        file.sync_all()?;
        std::fs::rename(&part, target)
            .with_context(|| format!("cannot write {}", target.display()))?;
        discard(&part);
        Ok(Fetched {
            bytes: file.metadata()?.len(),
            verified: checksum,
            was_there: false,
        })
    }

    /// A short text, tried again as files are.
    pub fn text(&self, url: &str) -> Result<String> {
        let mut failures = 0;
        loop {
            let reason = match self.request(url, 0, &Part::default()) {
                Ok(answer) if !is_busy(answer.response.status()) => {
                    self.refuse(answer.response.status(), url)?;
                    let body = answer.response.into_body().into_reader();
                    let mut text = String::new();
                    match body.take(MOST_TEXT).read_to_string(&mut text) {
                        Ok(_) => return Ok(text),
                        Err(e) => format!("the connection dropped ({e})"),
                    }
                }
                Ok(answer) => format!("the server answered {}", answer.response.status()),
                Err(e) => reason_to_retry(e, url, true)?,
            };
            failures += 1;
            if failures >= TRIES {
                bail!("{url}: {reason}; given up after {TRIES} tries");
            }
            std::thread::sleep(self.pause * 2u32.pow(failures - 1));
        }
    }

    /// One connection: append what it gives to `part`.
    fn attempt(&self, url: &str, part: &Path, bar: &ProgressBar) -> Result<Outcome> {
        let known: Part = std::fs::read(notes(part))
            .ok()
            .and_then(|b| serde_json::from_slice(&b).ok())
            .unwrap_or_default();
        // Bytes of which nothing is known cannot be continued.
        let from = if known.etag.is_some() { size(part) } else { 0 };
        let answer = match self.request(url, from, &known) {
            Ok(answer) => answer,
            Err(e) => return Ok(Outcome::Dropped(reason_to_retry(e, url, from == 0)?)),
        };
        let status = answer.response.status();
        if from > 0
            && (status == StatusCode::RANGE_NOT_SATISFIABLE || answer.part.etag != known.etag)
        {
            return Ok(
                if answer.size == Some(from) && answer.part.etag == known.etag {
                    Outcome::Complete(known.etag)
                } else {
                    Outcome::StartOver
                },
            );
        }
        if is_busy(status) {
            return Ok(Outcome::Dropped(format!("the server answered {status}")));
        }
        self.refuse(status, url)?;
        std::fs::write(notes(part), serde_json::to_vec(&answer.part)?)
            .with_context(|| format!("cannot write {}", notes(part).display()))?;
        // A server that knows no ranges sends everything again.
        let mut file = OpenOptions::new()
            .create(true)
            .append(answer.continues)
            .write(true)
            .truncate(!answer.continues)
            .open(part)
            .with_context(|| format!("cannot write {}", part.display()))?;
        let mut have = if answer.continues { from } else { 0 };
        bar.set_length(answer.size.unwrap_or(0));
        bar.set_position(have);
        bar.reset_eta();
        let most = answer.size.unwrap_or(UNSAID);
        let mut body = answer.response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) if have + n as u64 > most => {
                    drop(file);
                    discard(part);
                    bail!(
                        "{url}: the server sends more than {} MB{}; what came was deleted",
                        most / 1_000_000,
                        if answer.size.is_some() {
                            ", the size it gave"
                        } else {
                            " without saying how much it is"
                        }
                    );
                }
                Ok(n) => {
                    file.write_all(&buffer[..n])
                        .with_context(|| format!("cannot write {}", part.display()))?;
                    have += n as u64;
                    bar.set_position(have);
                }
                Err(e) => return Ok(Outcome::Dropped(format!("the connection dropped ({e})"))),
            }
        }
        match answer.size {
            Some(size) if have < size => Ok(Outcome::Dropped(format!(
                "the connection ended after {have} of {size} bytes"
            ))),
            _ => Ok(Outcome::Complete(answer.part.etag)),
        }
    }

    /// Ask for the bytes from `from` on, following redirections.
    fn request(&self, url: &str, from: u64, known: &Part) -> Result<Answer> {
        let first: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
        let (mut uri, mut linked, mut linked_size) = (first.clone(), None, None);
        for _ in 0..HOPS {
            let mut request = self
                .agent
                .get(&uri)
                .header(header::ACCEPT_ENCODING, "identity");
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
                if let Some(etag) = &known.range_etag {
                    request = request.header(header::IF_RANGE, etag);
                }
            }
            if let Some(token) = &self.token
                && may_have_token(&first, &uri)
            {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request
                .call()
                .with_context(|| format!("cannot reach {uri}"))?;
            // The hub tells of the content on the first hop; where the bytes lie the ETag may be
            // another.
            linked = linked.or_else(|| text(&response, "x-linked-etag").map(str::to_owned));
            linked_size = linked_size.or_else(|| text(&response, "x-linked-size")?.parse().ok());
            if !response.status().is_redirection() {
                return Ok(answer(response, from, linked, linked_size));
            }
            let location = text(&response, "location")
                .with_context(|| format!("{uri} redirects to nowhere"))?;
            uri = join(&uri, location)?;
        }
        bail!("{url}: more than {HOPS} redirections")
    }

    /// Statuses that trying again does not help.
    fn refuse(&self, status: StatusCode, url: &str) -> Result<()> {
        match status {
            s if s.is_success() => Ok(()),
            StatusCode::NOT_FOUND => bail!(NotFound(url.to_owned())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => bail!(
                "{url}: not allowed ({status}). The repository is gated or private, or there is none of this name. Accept its terms on its page of the hub, and {}",
                match self.token {
                    None => "set HF_TOKEN to an access token of your account",
                    Some(_) => "see that the token in HF_TOKEN is valid and may read it",
                }
            ),
            s => bail!("{url}: the server answered {s}"),
        }
    }
}

/// Whether a server may answer better in a moment.
fn is_busy(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// Why there was no answer.
///
/// # Errors
/// What trying again does not help; `first`: nothing has come from that host yet.
fn reason_to_retry(e: anyhow::Error, url: &str, first: bool) -> Result<String> {
    match e.downcast_ref::<ureq::Error>() {
        Some(ureq::Error::BadUri(_)) | None => Err(e),
        Some(reason) if first && is_offline(reason) => {
            bail!(
                "cannot reach {}: {reason}. Is this machine online, and the address right?",
                url.parse::<Uri>()
                    .ok()
                    .and_then(|uri| uri.authority().map(ToString::to_string))
                    .unwrap_or_default()
            )
        }
        Some(_) => Ok(format!("{e:#}")),
    }
}

/// Whether `uri` may be shown the token that is meant for `first`: the same origin, over TLS.
fn may_have_token(first: &Uri, uri: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(443);
    let https = |uri: &Uri| uri.scheme_str() == Some("https");
    https(first) && https(uri) && uri.host() == first.host() && port(uri) == port(first)
}

fn answer(
    response: Response<Body>,
    from: u64,
    linked: Option<String>,
    linked_size: Option<u64>,
) -> Answer {
    let etag = text(&response, "etag").map(str::to_owned);
    // `bytes 100-199/200`, or `bytes */200` with a range that cannot be had.
    let range =
        text(&response, "content-range").and_then(|r| r.strip_prefix("bytes ")?.split_once('/'));
    let begins = range.and_then(|(r, _)| r.split_once('-')?.0.parse::<u64>().ok());
    let length = text(&response, "content-length").and_then(|l| l.parse().ok());
    let size = match range {
        Some((_, total)) => total.parse().ok(),
        None if response.status().is_success() => length,
        None => None,
    };
    Answer {
        continues: from > 0
            && response.status() == StatusCode::PARTIAL_CONTENT
            && begins == Some(from),
        size: size.or(linked_size),
        part: Part {
            etag: linked.or_else(|| etag.clone()),
            // Weak ETags do not promise the same bytes.
            range_etag: etag.filter(|e| !e.starts_with("W/")),
        },
        response,
    }
}

impl Part {
    fn checksum(&self) -> Option<Checksum> {
        self.etag.as_deref().and_then(Checksum::from_etag)
    }
}

/// The address a redirection names: whole, or a path on the same host.
fn join(base: &Uri, location: &str) -> Result<Uri> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return location
            .parse()
            .with_context(|| format!("redirected to `{location}`"));
    }
    let path = if location.starts_with('/') {
        location.to_owned()
    } else {
        let folder = base
            .path()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        format!("{folder}/{location}")
    };
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(path.parse()?);
    Ok(Uri::from_parts(parts)?)
}

/// What the server does not have.
#[derive(Debug)]
pub struct NotFound(String);

impl std::fmt::Display for NotFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: not found (404). The hub may have moved the file, or the repository is private: then set HF_TOKEN",
            self.0
        )
    }
}

impl std::error::Error for NotFound {}

/// Whether no connection could be made at all: trying again in a moment does not help.
fn is_offline(e: &ureq::Error) -> bool {
    use std::io::ErrorKind;
    match e {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Timeout(t) => matches!(t, ureq::Timeout::Resolve | ureq::Timeout::Connect),
        ureq::Error::Io(e) => {
            matches!(
                e.kind(),
                ErrorKind::ConnectionRefused
                    | ErrorKind::HostUnreachable
                    | ErrorKind::NetworkUnreachable
                    | ErrorKind::NetworkDown
                    | ErrorKind::AddrNotAvailable
            ) || e.to_string().contains("failed to lookup address")
        }
        _ => false,
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn notes(part: &Path) -> PathBuf {
    with_suffix(part, ".json")
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |m| m.len())
}

/// Forget a partial download. That there is none is as good.
fn discard(part: &Path) {
    let _ = std::fs::remove_file(part);
    let _ = std::fs::remove_file(notes(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_to_its_own_origin_over_tls_only() {
        for (first, uri, may) in [
            ("https://hub.example/a", "https://hub.example/b", true),
            ("https://hub.example/a", "https://hub.example:443/b", true),
            ("https://hub.example/a", "https://hub.example:8443/b", false),
            ("https://hub.example/a", "http://hub.example/b", false),
            ("https://hub.example/a", "https://cdn.example/b", false),
            ("https://hub.example/a", "https://hub.example.evil/b", false),
            ("http://hub.example/a", "http://hub.example/a", false),
            ("http://127.0.0.1:80/a", "http://127.0.0.1:80/a", false),
        ] {
            let parsed = |text: &str| text.parse::<Uri>().unwrap();
            assert_eq!(may_have_token(&parsed(first), &parsed(uri)), may, "{uri}");
        }
    }
}
