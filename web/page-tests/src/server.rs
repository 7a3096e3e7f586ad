//! A static file server on a port of its own: what the page needs from any host, and no more.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Result, anyhow};

/// Serves a folder, and pages that a test adds to it.
pub struct Server {
    origin: String,
    extra: Arc<Mutex<HashMap<String, Vec<u8>>>>,
}

impl Server {
    pub fn start(folder: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let origin = format!("http://{}", listener.local_addr()?);
        let extra = Arc::new(Mutex::new(HashMap::new()));
        let shared = Arc::clone(&extra);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, extra) = (folder.clone(), Arc::clone(&shared));
                // A browser that goes away in the middle of an answer is no failure of the page's.
                thread::spawn(move || answer(stream, &folder, &extra).ok());
            }
        });
        Ok(Self { origin, extra })
    }

    /// "http://127.0.0.1:port"
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Makes `path` ("/name") answer with `content`.
    pub fn add(&self, path: &str, content: impl Into<Vec<u8>>) -> Result<()> {
        let mut extra = self
            .extra
            .lock()
            .map_err(|_| anyhow!("the server's thread died"))?;
        extra.insert(path.to_owned(), content.into());
        Ok(())
    }
}

fn answer(
    mut stream: TcpStream,
    folder: &Path,
    extra: &Mutex<HashMap<String, Vec<u8>>>,
) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.by_ref().take(8192).read_line(&mut request)?;
    let mut header = String::new();
    while reader.by_ref().take(8192).read_line(&mut header)? > 2 {
        header.clear();
    }
    let mut words = request.split_whitespace();
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or("/"),
    );
    let path = target.split(['?', '#']).next().unwrap_or("/");
    let path = if path == "/" { "/index.html" } else { path };

    let added = extra.lock().ok().and_then(|extra| extra.get(path).cloned());
    let content = added.or_else(|| read(folder, path));
    let (status, content) = match content {
        Some(content) => ("200 OK", content),
        None => ("404 Not Found", b"not found".to_vec()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        media_type(path),
        content.len()
    )?;
    if method != "HEAD" {
        stream.write_all(&content)?;
    }
    Ok(())
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
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("wasm") => "application/wasm",
        Some("css") => "text/css",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
