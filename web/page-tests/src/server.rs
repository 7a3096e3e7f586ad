//! A static file server on a port of its own: what the page needs from any host, and the ways in
//! which hosts fail.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

/// How a file is served that a test adds.
#[derive(Clone, Debug, Default)]
pub struct Served {
    pub content: Vec<u8>,
    /// Sent as its ETag. Files with one can be asked for in part.
    pub tag: Option<String>,
    /// So many answers break off in the middle.
    pub cuts: usize,
    /// Pause after every piece of the content.
    pub pause: Duration,
    /// So many bytes of the content come without one.
    pub quick: usize,
    /// Where to ask instead.
    pub redirect: Option<String>,
}

/// How a site fails that was there before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    #[default]
    None,
    /// Every connection ends at once.
    Down,
    /// Every answer is this failure.
    Status(u16),
    /// Nothing is ever answered.
    Silent,
    /// Answers begin and never end.
    Stalled,
}

/// Ends the address of a page that the browser is not to keep when it is left.
pub const FORGOTTEN: &str = "&forgotten";

/// Bytes sent between two pauses.
const PIECE: usize = 16 << 10;

/// A request for a file that a test added.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Where the bytes asked for begin, if not at the file's beginning.
    pub from: usize,
    /// How many were sent.
    pub bytes: usize,
}

#[derive(Default)]
struct Shared {
    added: Mutex<HashMap<String, Arc<Served>>>,
    asked: Mutex<HashMap<String, Vec<Asked>>>,
    trouble: Mutex<Trouble>,
    /// Pages of every other site may read the answers.
    for_all: bool,
    /// The headers that isolate a page from other sites.
    isolating: AtomicBool,
}

/// Serves a folder, and files that a test adds to it.
pub struct Server {
    origin: String,
    shared: Arc<Shared>,
}

impl Server {
    pub fn start(folder: PathBuf) -> Result<Self> {
        Self::start_as(folder, false)
    }

    /// One of added files alone, whose answers pages of every other site may read.
    pub fn start_for_all() -> Result<Self> {
        Self::start_as(PathBuf::from("/nowhere"), true)
    }

    fn start_as(folder: PathBuf, for_all: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let origin = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            for_all,
            ..Shared::default()
        });
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, shared) = (folder.clone(), Arc::clone(&own));
                // A browser that goes away in the middle of an answer is no failure of the page's.
                thread::spawn(move || answer(stream, &folder, &shared).ok());
            }
        });
        Ok(Self { origin, shared })
    }

    /// "http://127.0.0.1:port"
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Makes `path` ("/name") answer with `content`.
    pub fn add(&self, path: &str, content: impl Into<Vec<u8>>) -> Result<()> {
        self.serve(
            path,
            Served {
                content: content.into(),
                ..Served::default()
            },
        )
    }

    /// The files of a folder, below `path` ("/folder/").
    pub fn add_all(&self, path: &str, folder: &Path) -> Result<()> {
        for file in fs::read_dir(folder)? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            self.add(&format!("{path}{name}"), fs::read(file.path())?)?;
        }
        Ok(())
    }

    pub fn serve(&self, path: &str, served: Served) -> Result<()> {
        let added = self.shared.added.lock();
        let mut added = added.map_err(|_| anyhow!("the server's thread died"))?;
        added.insert(path.to_owned(), Arc::new(served));
        Ok(())
    }

    /// The requests so far for a file that was added.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        let asked = lock(&self.shared.asked);
        asked.get(path).cloned().unwrap_or_default()
    }

    /// While it is down, every connection ends at once.
    pub fn set_down(&self, down: bool) {
        self.set_trouble(if down { Trouble::Down } else { Trouble::None });
    }

    /// From now on every answer isolates its page from other sites, which gives it threads.
    pub fn isolate(&self) {
        self.shared.isolating.store(true, Ordering::Relaxed);
    }

    pub fn set_trouble(&self, trouble: Trouble) {
        *lock(&self.shared.trouble) = trouble;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(mut stream: TcpStream, folder: &Path, shared: &Shared) -> Result<()> {
    let trouble = *lock(&shared.trouble);
    match trouble {
        Trouble::Down => return Ok(()),
        Trouble::Silent => {
            wait_out(shared, trouble);
            return Ok(());
        }
        _ => {}
    }
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.by_ref().take(8192).read_line(&mut request)?;
    let mut headers = HashMap::new();
    let mut line = String::new();
    while reader.by_ref().take(8192).read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        line.clear();
    }
    let mut words = request.split_whitespace();
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or("/"),
    );
    let path = target.split(['?', '#']).next().unwrap_or("/");
    let path = if path == "/" { "/index.html" } else { path };

    let added = {
        let mut added = lock(&shared.added);
        let found = added.get(path).cloned();
        if let Some(served) = added.get_mut(path)
            && method == "GET"
            && served.cuts > 0
        {
            let mut fewer = Served::clone(served);
            fewer.cuts -= 1;
            *served = Arc::new(fewer);
        }
        found
    };
    let is_added = added.is_some();
    let from_folder = || {
        Some(Arc::new(Served {
            content: read(folder, path)?,
            ..Served::default()
        }))
    };
    let found = added.or_else(from_folder);
    let (status, served) = match found {
        Some(served) => ("200 OK", served),
        None => (
            "404 Not Found",
            Arc::new(Served {
                content: b"not found".to_vec(),
                ..Served::default()
            }),
        ),
    };
    let total = served.content.len();
    let same = served.tag.is_some() && headers.get("if-range") == served.tag.as_ref();
    let range = headers.get("range").and_then(|range| {
        let (from, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let from: usize = from.parse().ok()?;
        match last {
            "" => same.then_some((from, total)),
            last => Some((from, last.parse::<usize>().ok()? + 1)),
        }
    });
    let range = range.filter(|(from, end)| from < end && *end <= total);
    let is_part = range.is_some_and(|(from, end)| (from, end) != (0, total) || !same);
    let (from, end) = range.unwrap_or((0, total));
    if is_added {
        let mut asked = lock(&shared.asked);
        asked.entry(path.to_owned()).or_default().push(Asked {
            method: method.to_owned(),
            from,
            bytes: end - from,
        });
    }
    if let Trouble::Status(status) = trouble {
        let answer = "the site is being mended";
        write!(
            stream,
            "HTTP/1.1 {status} Failure\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
            answer.len()
        )?;
        return Ok(());
    }
    if let Some(there) = &served.redirect {
        write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {there}\r\n{}Content-Length: 0\r\nConnection: close\r\n\r\n",
            allowance(shared)
        )?;
        return Ok(());
    }
    let content = &served.content[from..end];
    let status = if is_part {
        "206 Partial Content"
    } else {
        status
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: {}\r\nConnection: close\r\n",
        media_type(path),
        content.len(),
        // Browsers throw a page away that may not be stored when it is left.
        if media_type(path).starts_with("text/html") && !target.ends_with(FORGOTTEN) {
            "no-cache"
        } else {
            "no-store"
        }
    )?;
    write!(stream, "{}", allowance(shared))?;
    if shared.isolating.load(Ordering::Relaxed) {
        write!(
            stream,
            "Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Embedder-Policy: require-corp\r\n"
        )?;
    }
    if let Some(tag) = &served.tag {
        write!(stream, "ETag: {tag}\r\n")?;
    }
    if is_part {
        write!(
            stream,
            "Content-Range: bytes {from}-{}/{total}\r\n",
            end - 1
        )?;
    }
    write!(stream, "\r\n")?;
    if method == "HEAD" {
        return Ok(());
    }
    if trouble == Trouble::Stalled {
        stream.write_all(&content[..content.len() / 2])?;
        wait_out(shared, trouble);
        return Ok(());
    }
    let end = if served.cuts > 0 {
        content.len() / 2
    } else {
        content.len()
    };
    for (at, piece) in content[..end].chunks(PIECE).enumerate() {
        stream.write_all(piece)?;
        if from + at * PIECE >= served.quick {
            thread::sleep(served.pause);
        }
    }
    Ok(())
}

/// What lets pages of other sites read an answer.
fn allowance(shared: &Shared) -> &'static str {
    match shared.for_all {
        true => "Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: *\r\n",
        false => "",
    }
}

/// Returns when the trouble is another.
fn wait_out(shared: &Shared, trouble: Trouble) {
    while *lock(&shared.trouble) == trouble {
        thread::sleep(Duration::from_millis(50));
    }
}

fn read(folder: &Path, path: &str) -> Option<Vec<u8>> {
    let relative = Path::new(path.trim_start_matches('/'));
    let inside = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    inside
        .then(|| fs::read(folder.join(relative)).ok())
        .flatten()
}

fn media_type(path: &str) -> &'static str {
    match Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str())
    {
        _ if path.ends_with('/') => "text/html; charset=utf-8",
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("wasm") => "application/wasm",
        Some("css") => "text/css",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("webmanifest") => "application/manifest+json",
        _ => "application/octet-stream",
    }
}
