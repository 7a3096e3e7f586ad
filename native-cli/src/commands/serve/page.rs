//! What is served at `/`: the built page, or a few words where there is none.
//!
//! The page is built in where `ONEBIT_PAGE_DIR` names its folder when `onebit` is built; `--page`
//! takes it from a folder.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;

use super::body;
use super::openapi::ENDPOINTS;

/// Paths and bytes of the page's files.
const BUILT_IN: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// Files of a page's folder, at most.
const MOST: usize = 10_000;

/// What is served at `/`.
#[derive(Debug, Default)]
pub struct Page(HashMap<String, Bytes>);

impl Page {
    /// The one that is built in, if it is.
    pub fn built_in() -> Self {
        let files = BUILT_IN.iter();
        Page(
            files
                .map(|(path, bytes)| ((*path).to_owned(), Bytes::from_static(bytes)))
                .collect(),
        )
        .told()
    }

    /// The one in a folder.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        let mut page = Page::default();
        let mut folders = vec![(folder.to_owned(), String::new())];
        while let Some((folder, within)) = folders.pop() {
            let name = || format!("--page {}", folder.display());
            for entry in fs::read_dir(&folder).with_context(name)? {
                let entry = entry.with_context(name)?;
                let path = format!("{within}{}", entry.file_name().to_string_lossy());
                if entry.path().is_dir() {
                    folders.push((entry.path(), format!("{path}/")));
                } else {
                    let bytes = fs::read(entry.path()).with_context(name)?;
                    page.0.insert(path, Bytes::from(bytes));
                }
                ensure!(
                    page.0.len() <= MOST,
                    "{}: it has more than {MOST} files",
                    name()
                );
            }
        }
        ensure!(
            page.0.contains_key("index.html"),
            "--page {}: there is no index.html in it; build the page with `cargo xtask build-web`",
            folder.display()
        );
        Ok(page.told())
    }

    /// The same page, which knows that its server answers with models.
    fn told(mut self) -> Self {
        const HEAD: &str = "<head>";
        const SAID: &str = "<head><meta name=\"onebit-server\" content=\"v1/\" />";
        if let Some(index) = self.0.get_mut("index.html") {
            *index = String::from_utf8_lossy(index)
                .replacen(HEAD, SAID, 1)
                .into();
        }
        self
    }

    /// What is at `path`, for a client that calls the server `host`.
    pub fn response(&self, path: &str, host: Option<&str>) -> Option<Response> {
        let path = path.trim_start_matches('/');
        let path = if path.is_empty() { "index.html" } else { path };
        let mut response = match self.0.get(path) {
            Some(bytes) => body::typed(content_type(path), bytes.clone()),
            None if path == "index.html" => body::typed(content_type(path), introduction(host)),
            None => return None,
        };
        let headers = response.headers_mut();
        for (name, value) in [
            // What a browser asks for before workers may share memory.
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
            (
                HeaderName::from_static("cross-origin-embedder-policy"),
                "require-corp",
            ),
            // The rest of the policy stands in the page itself.
            (header::CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CACHE_CONTROL, "no-cache"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Some(response)
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// What this is, where there is no page. Its example calls the server as the client does.
fn introduction(host: Option<&str>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let host = host.filter(|host| !host.is_empty() && host.chars().all(plain));
    let host = host.unwrap_or("HOST:PORT");
    let endpoint = |endpoint: &super::openapi::Endpoint| {
        let method = if endpoint.parameters.is_some() {
            "POST"
        } else {
            "GET"
        };
        format!(
            "<li><code>{method} {}</code>: {}</li>\n",
            endpoint.path, endpoint.summary
        )
    };
    let list: String = ENDPOINTS.iter().map(endpoint).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>onebit serve</title></head>\n<body>\n\
         <h1>onebit serve</h1>\n<p>Language models, for clients of OpenAI's and Anthropic's APIs. For example:</p>\n\
         <pre>curl http://{host}/v1/chat/completions \\\n  \
         -d '{{\"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'</pre>\n\
         <ul>\n{list}</ul>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_with_their_types_and_nothing_else_comes() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Page::of_folder(folder.path()).is_err());
        fs::write(folder.path().join("index.html"), "<p>").unwrap();
        fs::create_dir(folder.path().join("js")).unwrap();
        fs::write(folder.path().join("js/a.wasm"), [0u8]).unwrap();
        let page = Page::of_folder(folder.path()).unwrap();
        let kind = |path: &str| {
            let response = page.response(path, None)?;
            assert_eq!(
                response.headers()["cross-origin-embedder-policy"],
                "require-corp"
            );
            Some(
                response.headers()["content-type"]
                    .to_str()
                    .unwrap()
                    .to_owned(),
            )
        };
        assert_eq!(kind("/").as_deref(), Some("text/html; charset=utf-8"));
        assert_eq!(kind("/js/a.wasm").as_deref(), Some("application/wasm"));
        assert_eq!(
            (kind("/js/../index.html"), kind("/b"), kind("/js")),
            (None, None, None)
        );
        let none = Page::default();
        assert!(none.response("/", None).is_some() && none.response("/a", None).is_none());
        let said = introduction(Some("[::1]:9000"));
        assert!(said.contains("POST /v1/chat/completions"));
        assert!(said.contains("curl http://[::1]:9000/v1/"), "{said}");
        // What a client says is no part of a page.
        for odd in [None, Some(""), Some("<script>")] {
            assert!(introduction(odd).contains("curl http://HOST:PORT/v1/"));
        }
    }
}
