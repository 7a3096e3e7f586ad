//! Data sets that are one JSON object with a list in it: `{"version": …, "data": [{…}, …]}`.

#[cfg(feature = "native")]
mod files;

use std::io::{self, BufRead};

#[cfg(feature = "native")]
pub(super) use files::alone;

use super::documents::FIELDS;
use crate::error::{Error, Result};

/// The longest name of a field that is told of.
const LONGEST_NAME: usize = 100;

/// A list in an object.
struct List {
    name: String,
    /// What its first value begins with.
    first: u8,
    /// Its bytes, brackets not included.
    bytes: std::ops::Range<u64>,
}

/// The lists of the object in a file, none if the file is no such object or the object is a
/// document itself.
fn lists(file: impl BufRead) -> io::Result<Vec<List>> {
    let (mut depth, mut text, mut escaped) = (0usize, false, false);
    let mut name = Vec::new();
    let mut found: Vec<List> = Vec::new();
    let mut ended = false;
    for (at, byte) in (0..).zip(file.bytes()) {
        let byte = byte?;
        if text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => text = false,
                _ if depth == 1 && name.len() < LONGEST_NAME => name.push(byte),
                _ => {}
            }
            continue;
        }
        if byte.is_ascii_whitespace() || matches!(byte, 0xef | 0xbb | 0xbf) {
            continue;
        }
        if ended || (depth == 0 && byte != b'{') {
            return Ok(Vec::new());
        }
        if depth == 2
            && let Some(list) = found.last_mut()
            && list.first == b'['
        {
            list.first = byte;
        }
        match byte {
            b'"' => {
                text = true;
                if depth == 1 {
                    name.clear();
                }
            }
            b':' if depth == 1 && FIELDS.iter().any(|field| field.as_bytes() == name) => {
                return Ok(Vec::new());
            }
            b'[' if depth == 1 => {
                depth += 1;
                found.push(List {
                    name: String::from_utf8_lossy(&name).into_owned(),
                    first: b'[',
                    bytes: at + 1..0,
                });
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if let (1, b']', Some(list)) = (depth, byte, found.last_mut()) {
                    list.bytes.end = at;
                }
                ended = depth == 0;
            }
            _ => {}
        }
    }
    found.retain(|list| matches!(list.first, b'{' | b'"'));
    // Beside a list of objects, names and the like may be listed.
    if found.iter().any(|list| list.first == b'{') {
        found.retain(|list| list.first == b'{');
    }
    match ended {
        true => Ok(found),
        false => Ok(Vec::new()),
    }
}

/// The list in the object that the file called `name` is; None if it is no such object.
///
/// # Errors
/// An object with several lists.
fn only(mut lists: Vec<List>, name: &str) -> Result<Option<List>> {
    if lists.len() < 2 {
        return Ok(lists.pop());
    }
    let names: Vec<&str> = lists.iter().map(|list| list.name.as_str()).collect();
    Err(Error::Data(format!(
        "{name} is an object with several lists: {}; expected one, or a list alone. Write the one to learn from to a file of its own, \
         for example: jq '.\"{}\"' '{name}' > one.json",
        names.join(", "),
        names[0]
    )))
}

impl List {
    /// Whether a byte of the file is kept where the list stays at its lines.
    fn keeps(&self, at: u64, byte: u8) -> bool {
        at >= self.bytes.start || byte == b'\n'
    }
}

/// The list in the object that a file in memory, which messages call `name`, is: alone, at the same
/// lines. None if it is no such object.
///
/// # Errors
/// An object with several lists.
pub(super) fn within(name: &str, file: &[u8]) -> Result<Option<Vec<u8>>> {
    // Memory is always read.
    let list = only(lists(file).unwrap_or_default(), name)?;
    Ok(list.map(|list| {
        let bytes = (0..list.bytes.end).zip(file);
        let bytes = bytes.map(|(at, byte)| if list.keeps(at, *byte) { *byte } else { b' ' });
        bytes.collect()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Option<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::fs::write(&path, json).unwrap();
        let kept = alone(&path, "a.json")?;
        let kept = kept.map(|kept| std::fs::read(&kept).unwrap());
        assert_eq!(kept, within("a.json", json.as_bytes())?);
        Ok(kept.map(|kept| String::from_utf8(kept).unwrap()))
    }

    #[test]
    fn the_one_list_of_an_object_stays_where_it_is() {
        for (json, list) in [
            (
                "{\n \"v\": \"[1]\",\n \"data\": [{\"a\": [1]}, {}],\n \"n\": {\"x\": [{}]}}",
                "{\"a\": [1]}, {}",
            ),
            (r#"{"data": ["a", "]"]}"#, r#""a", "]""#),
            (
                r#"{"tags": ["a"], "data": [{"a": "\"]"}]}"#,
                r#"{"a": "\"]"}"#,
            ),
        ] {
            let kept = of(json).unwrap().unwrap();
            assert_eq!((kept.trim(), kept.find(list)), (list, json.find(list)));
            let at = json.find(list).unwrap();
            let lines = |text: &str| text[..at].matches('\n').count();
            assert_eq!(lines(&kept), lines(json));
        }
        for none in [
            r#"{"messages": [{"role": "user"}]}"#,
            r#"{"a": [1, 2]}"#,
            r#"{"a": [{}]} {"a": [{}]}"#,
            r#"{"a": [{}"#,
            "{}",
            "[[{}]]",
            "",
        ] {
            assert_eq!(of(none).unwrap(), None, "{none}");
        }
        let e = of(r#"{"train": [{}], "test": [{}]}"#)
            .unwrap_err()
            .to_string();
        assert!(
            e.contains("several lists: train, test") && e.contains("jq '.\"train\"' 'a.json'"),
            "{e}"
        );
    }
}
