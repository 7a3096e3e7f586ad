//! Who may ask: keys, and which sites' pages.

use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::refusal::Refusal;
use crate::model;

/// A key, as it is kept and compared: all are of one length.
type KeyDigest = [u8; 32];

/// What a request must have.
#[derive(Debug, Default)]
pub struct Guard {
    /// Empty: everyone may ask.
    keys: Vec<KeyDigest>,
    /// Sites whose pages may ask, beside the server's own.
    origins: Vec<String>,
    /// Requests must be meant for this machine by name, so that no site's name can be made to lead
    /// here.
    local_only: bool,
}

fn digest(key: &[u8]) -> KeyDigest {
    Sha256::digest(key).into()
}

/// Takes as long wherever they differ.
fn same(a: &KeyDigest, b: &KeyDigest) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    black_box(difference) == 0
}

/// The keys of a file, one a line.
fn read_keys(path: &Path) -> Result<Vec<KeyDigest>> {
    let name = path.display();
    let text = model::read_small(path, "the keys").context("--api-key-file")?;
    let lines = text.lines().map(str::trim);
    let keys: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    if keys.is_empty() {
        bail!("--api-key-file {name}: there is no key in it");
    }
    if let Some(key) = keys.iter().find(|key| key.contains(char::is_whitespace)) {
        let length = key.len();
        bail!("--api-key-file {name}: a key of {length} letters has white space in it");
    }
    Ok(keys.iter().map(|key| digest(key.as_bytes())).collect())
}

impl Guard {
    /// For a server at `addresses`.
    pub fn new(
        key_file: Option<&Path>,
        origins: &[String],
        addresses: &[IpAddr],
        insecure: bool,
    ) -> Result<Self> {
        let keys = key_file.map(read_keys).transpose()?.unwrap_or_default();
        let public = addresses.iter().find(|address| !address.is_loopback());
        if let Some(public) = public
            && keys.is_empty()
            && !insecure
        {
            bail!(
                "--host {public} can be reached from other machines; give --api-key-file FILE, or --insecure to let everyone in"
            );
        }
        for origin in origins {
            let plain = origin == "*"
                || origin
                    .split_once("://")
                    .is_some_and(|(_, host)| !host.is_empty() && !host.contains('/'));
            if !plain || HeaderValue::from_str(origin).is_err() {
                bail!("--cors {origin}: expected an origin such as https://example.org, or *");
            }
        }
        Ok(Guard {
            local_only: keys.is_empty() && public.is_none(),
            keys,
            origins: origins.to_vec(),
        })
    }

    /// Refuse a request without a key that is known.
    pub fn check_key(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let bearer = headers
            .get(header::AUTHORIZATION)
            .map(HeaderValue::as_bytes);
        let bearer = bearer.and_then(|value| {
            let (scheme, key) = value.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
        });
        let own = headers.get("x-api-key").map(HeaderValue::as_bytes);
        let refuse = |message: &str| {
            Err(Refusal::new(StatusCode::UNAUTHORIZED, message).with_code("invalid_api_key"))
        };
        // Clients may send both, one of them for a proxy, or left over from another service.
        let given = [bearer, own].into_iter().flatten();
        let given: Vec<KeyDigest> = given.map(|key| digest(key.trim_ascii())).collect();
        if given.is_empty() {
            return refuse("a key is needed: Authorization: Bearer KEY, or x-api-key: KEY");
        }
        let pairs = given
            .iter()
            .flat_map(|key| self.keys.iter().map(move |k| (k, key)));
        match pairs.fold(false, |known, (k, key)| known | same(k, key)) {
            true => Ok(()),
            false => refuse("the key is not known"),
        }
    }

    /// Refuse what a page of a site sends that may not.
    pub fn check_site(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).or(uri.authority().map(|authority| authority.as_str()));
        let forbid = |message: String| Err(Refusal::new(StatusCode::FORBIDDEN, message));
        // Every browser names the host. What names none (a balancer's check by HTTP/1.0) is no
        // page.
        let names_none = !headers.contains_key(header::HOST) && uri.authority().is_none();
        if self.local_only && !names_none && !host.is_some_and(is_local) {
            return forbid(
                "this server answers to this machine's own names only (localhost, 127.0.0.1); start it with --api-key-file to change that"
                    .to_owned(),
            );
        }
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Ok(());
        };
        let own = origin
            .to_str()
            .ok()
            .and_then(|origin| Some(origin.split_once("://")?.1));
        if own.is_some() && own == host || self.allowed(origin).is_some() {
            return Ok(());
        }
        forbid(format!(
            "pages of {} may not use this server; allow them with --cors",
            String::from_utf8_lossy(origin.as_bytes())
                .chars()
                .take(100)
                .collect::<String>()
        ))
    }

    /// What a page's browser is told, if pages of this origin may ask.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        let all = self.origins.iter().any(|allowed| allowed == "*");
        let one = self
            .origins
            .iter()
            .any(|allowed| allowed.as_bytes() == origin.as_bytes());
        match (all, one) {
            (true, _) => Some(HeaderValue::from_static("*")),
            (_, true) => Some(origin.clone()),
            _ => None,
        }
    }

    /// Tell a page's browser that it may read `response`, and send the headers that it `asked` for:
    /// clients add some of their own with every version.
    pub fn add_cors(
        &self,
        origin: Option<&HeaderValue>,
        asked: Option<HeaderValue>,
        response: &mut Response,
    ) {
        let Some(allowed) = origin.and_then(|origin| self.allowed(origin)) else {
            return;
        };
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                "retry-after, x-request-id",
            ),
            (header::ACCESS_CONTROL_MAX_AGE, "86400"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(asked) = asked {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
        }
    }
}

/// Whether a Host header names this machine.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_public_address_needs_keys() {
        let e = Guard::new(None, &[], &[PUBLIC], false).unwrap_err();
        assert!(e.to_string().contains("--api-key-file"), "{e}");
        Guard::new(None, &[], &[PUBLIC], true).unwrap();
        Guard::new(None, &[], &[HERE, IpAddr::V6(Ipv6Addr::LOCALHOST)], false).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "# keys\n\n one \ntwo\n").unwrap();
        let guard = Guard::new(Some(file.path()), &[], &[PUBLIC], false).unwrap();
        for (given, known) in [
            (headers(&[("authorization", "Bearer one")]), true),
            (headers(&[("authorization", "bearer two")]), true),
            (headers(&[("x-api-key", "two")]), true),
            (headers(&[("x-api-key", "tw")]), false),
            (
                headers(&[("authorization", "Bearer tw"), ("x-api-key", "two")]),
                true,
            ),
            (
                headers(&[("authorization", "Bearer tw"), ("x-api-key", "tw")]),
                false,
            ),
            (headers(&[("authorization", "Basic one")]), false),
            (headers(&[("authorization", "Bearer # keys")]), false),
            (headers(&[]), false),
        ] {
            assert_eq!(guard.check_key(&given).is_ok(), known, "{given:?}");
        }
        fs::write(&file, "# none\n").unwrap();
        assert!(Guard::new(Some(file.path()), &[], &[HERE], false).is_err());
        fs::write(&file, "two words\n").unwrap();
        assert!(Guard::new(Some(file.path()), &[], &[HERE], false).is_err());
    }

    #[test]
    fn pages_of_other_sites_are_kept_out() {
        let guard = Guard::new(None, &["https://a.org".into()], &[HERE], false).unwrap();
        let check = |list: &[(&'static str, &str)]| {
            guard
                .check_site(&Uri::from_static("/"), &headers(list))
                .is_ok()
        };
        assert!(check(&[("host", "127.0.0.1:8080")]));
        assert!(check(&[("host", "[::1]:8080")]));
        assert!(check(&[
            ("host", "localhost:1"),
            ("origin", "http://localhost:1")
        ]));
        assert!(check(&[
            ("host", "localhost:1"),
            ("origin", "https://a.org")
        ]));
        assert!(!check(&[
            ("host", "localhost:1"),
            ("origin", "https://b.org")
        ]));
        assert!(!check(&[("host", "localhost:1"), ("origin", "null")]));
        // A site's name that leads here.
        assert!(!check(&[("host", "b.org"), ("origin", "http://b.org")]));
        assert!(!check(&[("host", "b.org")]));
        let odd = HeaderValue::from_bytes(b"\xff").unwrap();
        let odd = HeaderMap::from_iter([(header::HOST, odd)]);
        assert!(guard.check_site(&Uri::from_static("/"), &odd).is_err());
        // A program that speaks HTTP/1.0.
        assert!(check(&[]));
        assert!(!check(&[("origin", "http://b.org")]));
        let all = Guard::new(None, &["*".into()], &[HERE], false).unwrap();
        let mut response = Response::new(axum::body::Body::empty());
        all.add_cors(
            Some(&HeaderValue::from_static("https://b.org")),
            None,
            &mut response,
        );
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let mut response = Response::new(axum::body::Body::empty());
        guard.add_cors(
            Some(&HeaderValue::from_static("https://b.org")),
            None,
            &mut response,
        );
        assert!(response.headers().is_empty());
        for wrong in ["a.org", "https://", "https://a.org/", ""] {
            assert!(Guard::new(None, &[wrong.into()], &[HERE], false).is_err());
        }
    }
}
