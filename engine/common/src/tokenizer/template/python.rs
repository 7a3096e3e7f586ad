//! The methods of Python's strings, lists and dictionaries. Those that would change a value are
//! refused, as they are by the sandbox in which transformers runs templates.

use std::collections::BTreeSet;

use minijinja::value::{Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::args::{Args, invalid};
use super::guard::Budget;
use super::spec::fill_up;
use super::str_format::format;
use super::texts::{centered, replace};
use super::values::{printable, printed};

pub(super) fn method(
    budget: &Budget,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let args = Args::of_method(name, args)?;
    match value.kind() {
        ValueKind::String => {
            let s = value.as_str().unwrap_or_default();
            longer(budget, s, name, &args)
        }
        ValueKind::Map => map(value, name, &args),
        ValueKind::Seq | ValueKind::Iterable => list(value, name, &args),
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> Error {
    let changes = [
        "append",
        "clear",
        "extend",
        "insert",
        "pop",
        "popitem",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "update",
    ];
    let why = if changes.contains(&name) {
        ": a template cannot change a value"
    } else {
        ""
    };
    Error::new(
        ErrorKind::UnknownMethod,
        format!("there is no method `{name}`{why}"),
    )
}

/// White space as Python has it.
pub(super) fn white(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// The methods that can make a text longer.
fn longer(budget: &Budget, s: &str, name: &str, args: &Args) -> Result<Value, Error> {
    let width = || -> Result<usize, Error> {
        let width = args
            .integer(0, "width")?
            .ok_or_else(|| invalid(format!("`{name}` takes a width")))?;
        Ok(usize::try_from(width.max(0)).unwrap_or(usize::MAX))
    };
    let text = match name {
        "replace" => {
            let (from, to) = (args.needed(0, "old")?, args.needed(1, "new")?);
            let count = args.integer(2, "count")?;
            args.end(3)?;
            replace(budget, s, &from, &to, count)?
        }
        "format" => format(budget, s, args)?,
        "ljust" | "rjust" | "center" => {
            let fill = args.text(1, "fillchar")?.unwrap_or_else(|| " ".into());
            let mut chars = fill.chars();
            let (Some(fill), None) = (chars.next(), chars.next()) else {
                return Err(invalid(format!("`{name}` fills up with one character")));
            };
            let width = width()?;
            args.end(2)?;
            match name {
                "ljust" => fill_up(budget, s, width, fill, '<')?,
                "rjust" => fill_up(budget, s, width, fill, '>')?,
                _ => centered(budget, s, width, fill)?,
            }
        }
        "zfill" => {
            let width = width()?;
            args.end(1)?;
            let digits = s.trim_start_matches(['+', '-']);
            let at = (s.len() - digits.len()).min(1);
            let (sign, digits) = s.split_at(at);
            sign.to_owned() + &fill_up(budget, digits, width.saturating_sub(at), '0', '>')?
        }
        "expandtabs" => {
            let size = args.integer(0, "tabsize")?.unwrap_or(8).max(0);
            args.end(1)?;
            expand_tabs(budget, s, usize::try_from(size).unwrap_or(usize::MAX))?
        }
        "join" => {
            let parts = args
                .get(0, "iterable")?
                .ok_or_else(|| invalid("`join` takes a list"))?;
            args.end(1)?;
            let mut out = String::new();
            for (i, part) in parts.try_iter()?.enumerate() {
                let text = part
                    .as_str()
                    .ok_or_else(|| invalid(format!("`join` takes texts, not a {}", part.kind())))?;
                let between = if i > 0 { s } else { "" };
                budget.allow(out.len() + between.len() + text.len())?;
                out.extend([between, text]);
            }
            out
        }
        _ => return string(s, name, args),
    };
    Ok(text.into())
}

fn expand_tabs(budget: &Budget, s: &str, size: usize) -> Result<String, Error> {
    budget.allow(
        s.len()
            .saturating_add(s.matches('\t').count().saturating_mul(size)),
    )?;
    let (mut out, mut column) = (String::new(), 0);
    for c in s.chars() {
        match c {
            '\t' if size > 0 => {
                let spaces = size - column % size;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            '\t' => {}
            c => {
                out.push(c);
                column = if matches!(c, '\n' | '\r') {
                    0
                } else {
                    column + 1
                };
            }
        }
    }
    Ok(out)
}

/// Python's `splitlines`.
pub(super) fn split_lines(s: &str, keep_ends: bool) -> Vec<&str> {
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut out, mut rest) = (Vec::new(), s);
    while !rest.is_empty() {
        let at = rest.find(ends).unwrap_or(rest.len());
        let after = &rest[at..];
        let end = if after.starts_with("\r\n") {
            2
        } else {
            after.chars().next().map_or(0, char::len_utf8)
        };
        out.push(&rest[..if keep_ends { at + end } else { at }]);
        rest = &after[end..];
    }
    out
}

/// Where each script's digits begin: Unicode's decimal numbers.
const ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66,
    0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90,
    0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650,
    0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50,
    0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

fn decimal(c: char) -> bool {
    let c = u32::from(c);
    ZEROS.iter().any(|zero| (*zero..zero + 10).contains(&c))
}

/// Digits that do not count in tens, such as superscripts, too.
fn digit(c: char) -> bool {
    decimal(c)
        || matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨' | '⑴'..='⑼' | '⒈'..='⒐'
            | '⓪' | '⓵'..='⓽' | '⓿' | '❶'..='❾' | '➀'..='➈' | '➊'..='➒')
}

/// The part of `s` that `find` and the like look at, and its first character's place. None begins
/// behind the end.
fn window<'a>(s: &'a str, args: &Args, first: usize) -> Result<Option<(&'a str, usize)>, Error> {
    let length = s.chars().count();
    let place = |n: Option<i64>, otherwise: usize| match n {
        None => otherwise,
        Some(n @ ..0) => {
            length.saturating_sub(usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX))
        }
        Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
    };
    let start = place(args.integer(first, "start")?, 0);
    let end = place(args.integer(first + 1, "end")?, length).min(length);
    if start > end {
        return Ok(None);
    }
    let at = |n: usize| s.char_indices().nth(n).map_or(s.len(), |(at, _)| at);
    Ok(Some((&s[at(start)..at(end)], start)))
}

/// At most `most` cuts, from the right with `last`; at white space without `by`.
fn split(s: &str, by: Option<&str>, most: Option<usize>, last: bool) -> Result<Value, Error> {
    let most = most.unwrap_or(usize::MAX).saturating_add(1);
    Ok(match by {
        Some("") => {
            return Err(invalid("`split` takes a separator that is not empty"));
        }
        Some(by) if last => {
            let mut parts: Vec<Value> = s.rsplitn(most, by).map(Value::from).collect();
            parts.reverse();
            Value::from(parts)
        }
        Some(by) => s.splitn(most, by).map(Value::from).collect(),
        None => {
            let mut parts = Vec::new();
            let trimmed = |rest: &'_ str| -> usize {
                if last {
                    rest.trim_end_matches(white).len()
                } else {
                    rest.len() - rest.trim_start_matches(white).len()
                }
            };
            let mut rest = s;
            loop {
                // White space between is left out, but stays at the end of what is not cut any
                // more.
                let at = trimmed(rest);
                rest = if last { &rest[..at] } else { &rest[at..] };
                if rest.is_empty() {
                    break;
                }
                let cut = if parts.len() + 1 == most {
                    None
                } else if last {
                    rest.rfind(white)
                } else {
                    rest.find(white)
                };
                let Some(at) = cut else {
                    parts.push(Value::from(rest));
                    break;
                };
                let (a, b) = rest.split_at(at);
                if last {
                    parts.push(Value::from(b.trim_start_matches(white)));
                    rest = a;
                } else {
                    parts.push(Value::from(a));
                    rest = b;
                }
            }
            if last {
                parts.reverse();
            }
            Value::from(parts)
        }
    })
}

/// The first letter large, the others small.
pub(super) fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars.flat_map(char::to_lowercase)).collect()
}

/// What `strip` takes away: these characters, or white space.
pub(super) fn stripped(chars: Option<String>) -> impl Fn(char) -> bool {
    // Looked up, not gone through: both texts can be long.
    let set: Option<BTreeSet<char>> = chars.map(|chars| chars.chars().collect());
    move |c| set.as_ref().map_or(white(c), |set| set.contains(&c))
}

/// The methods that make a text no longer.
fn string(s: &str, name: &str, args: &Args) -> Result<Value, Error> {
    let every = |fits: &dyn Fn(char) -> bool| -> Result<Value, Error> {
        args.end(0)?;
        Ok((!s.is_empty() && s.chars().all(fits)).into())
    };
    let cased = |c: char| c.is_uppercase() || c.is_lowercase();
    let mut most = 0;
    let value = match name {
        "strip" | "lstrip" | "rstrip" => {
            // Characters to strip; white space without an argument.
            most = 1;
            let strip = stripped(args.text(0, "chars")?);
            match name {
                "strip" => s.trim_matches(strip).into(),
                "lstrip" => s.trim_start_matches(strip).into(),
                _ => s.trim_end_matches(strip).into(),
            }
        }
        "startswith" | "endswith" => {
            most = 3;
            let wanted = args.get(0, "prefix")?.unwrap_or_default();
            let part = window(s, args, 1)?.map(|(part, _)| part);
            let fits = |text: &str| {
                part.is_some_and(|part| match name {
                    "startswith" => part.starts_with(text),
                    _ => part.ends_with(text),
                })
            };
            // One text, or any of several.
            match wanted.kind() {
                ValueKind::Seq => wanted
                    .try_iter()?
                    .any(|text| text.as_str().is_some_and(fits))
                    .into(),
                _ => fits(&args.needed(0, "prefix")?).into(),
            }
        }
        "removeprefix" => {
            most = 1;
            s.strip_prefix(&args.needed(0, "prefix")?)
                .unwrap_or(s)
                .into()
        }
        "removesuffix" => {
            most = 1;
            s.strip_suffix(&args.needed(0, "suffix")?)
                .unwrap_or(s)
                .into()
        }
        "upper" => s.to_uppercase().into(),
        "lower" => s.to_lowercase().into(),
        "casefold" => s.to_lowercase().replace('ß', "ss").replace('ς', "σ").into(),
        "swapcase" => s
            .chars()
            .flat_map(|c| -> Box<dyn Iterator<Item = char>> {
                match c.is_uppercase() {
                    true => Box::new(c.to_lowercase()),
                    false => Box::new(c.to_uppercase()),
                }
            })
            .collect::<String>()
            .into(),
        "capitalize" => capitalized(s).into(),
        "title" => s
            .split_inclusive(|c: char| !c.is_alphabetic())
            .map(capitalized)
            .collect::<String>()
            .into(),
        "split" | "rsplit" => {
            most = 2;
            let by = args.text(0, "sep")?;
            let cuts = args.integer(1, "maxsplit")?;
            let cuts = cuts.and_then(|n| usize::try_from(n).ok());
            split(s, by.as_deref(), cuts, name == "rsplit")?
        }
        "splitlines" => {
            most = 1;
            let lines = split_lines(s, args.flag(0, "keepends")?);
            lines.into_iter().map(Value::from).collect()
        }
        "find" | "rfind" | "index" | "rindex" => {
            most = 3;
            let wanted = args.needed(0, "sub")?;
            let found = window(s, args, 1)?.and_then(|(part, start)| {
                let at = match name {
                    "find" | "index" => part.find(&wanted),
                    _ => part.rfind(&wanted),
                };
                // Places are counted in characters.
                Some(start + part[..at?].chars().count())
            });
            match found {
                Some(at) => at.into(),
                None if name.ends_with("find") => (-1).into(),
                None => return Err(invalid(format!("`{name}`: the text is not there"))),
            }
        }
        "count" => {
            most = 3;
            let wanted = args.needed(0, "sub")?;
            let part = window(s, args, 1)?;
            part.map_or(0, |(part, _)| part.matches(&wanted).count())
                .into()
        }
        "partition" | "rpartition" => {
            most = 1;
            let by = args.needed(0, "sep")?;
            if by.is_empty() {
                return Err(invalid(format!(
                    "`{name}` takes a separator that is not empty"
                )));
            }
            let (cut, rest) = match name {
                "partition" => (s.split_once(&by), [s, "", ""]),
                _ => (s.rsplit_once(&by), ["", "", s]),
            };
            let parts = cut.map_or(rest, |(a, b)| [a, &by, b]);
            Tuple::new(parts.into_iter().map(Value::from).collect()).into()
        }
        "isdecimal" => every(&decimal)?,
        "isdigit" => every(&digit)?,
        "isnumeric" => every(&char::is_numeric)?,
        "isalpha" => every(&char::is_alphabetic)?,
        "isalnum" => every(&char::is_alphanumeric)?,
        "isspace" => every(&white)?,
        "isascii" => s.is_ascii().into(),
        "isprintable" => s.chars().all(printable).into(),
        "isidentifier" => {
            let letter = |c: char| c.is_alphabetic() || c == '_';
            let rest = |c: char| letter(c) || c.is_numeric();
            (s.starts_with(letter) && s.chars().all(rest)).into()
        }
        "isupper" => (s.chars().any(cased) && !s.chars().any(char::is_lowercase)).into(),
        "islower" => (s.chars().any(cased) && !s.chars().any(char::is_uppercase)).into(),
        "istitle" => {
            let mut before = false;
            let fits = s.chars().all(|c| {
                let fits = !cased(c) || c.is_uppercase() != before;
                before = cased(c);
                fits
            });
            (fits && s.chars().any(cased)).into()
        }
        _ => return Err(unknown(name)),
    };
    args.end(most)?;
    Ok(value)
}

fn map(value: &Value, name: &str, args: &Args) -> Result<Value, Error> {
    let keys = || value.try_iter();
    let mut most = 0;
    let found = match name {
        "get" => {
            most = 2;
            let found = value.get_item(&args.get(0, "key")?.unwrap_or_default())?;
            match args.get(1, "default")? {
                _ if !found.is_undefined() => found,
                default => default.unwrap_or_else(|| ().into()),
            }
        }
        "keys" => keys()?.collect(),
        "values" => keys()?
            .map(|k| value.get_item(&k))
            .collect::<Result<_, _>>()?,
        "items" => items(value)?,
        "copy" => value.clone(),
        _ => return Err(unknown(name)),
    };
    args.end(most)?;
    Ok(found)
}

/// Pairs of keys and values.
pub(super) fn items(value: &Value) -> Result<Value, Error> {
    value
        .try_iter()?
        .map(|key| {
            let found = value.get_item(&key)?;
            Ok(Value::from(Tuple::from([key, found])))
        })
        .collect::<Result<_, Error>>()
}

fn list(value: &Value, name: &str, args: &Args) -> Result<Value, Error> {
    let wanted = args.get(0, "value")?.unwrap_or_default();
    let mut most = 1;
    let found = match name {
        "index" => {
            most = 3;
            let length = value.len().unwrap_or(usize::MAX);
            let place = |n: i64| match usize::try_from(n) {
                Ok(n) => n,
                Err(_) => {
                    length.saturating_sub(usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX))
                }
            };
            let start = args.integer(1, "start")?.map_or(0, place);
            let end = args.integer(2, "stop")?.map_or(usize::MAX, place);
            let at = value
                .try_iter()?
                .enumerate()
                .position(|(i, v)| (start..end).contains(&i) && v == wanted);
            at.ok_or_else(|| invalid(format!("`index`: {} is not in the list", printed(&wanted))))?
                .into()
        }
        "count" => value.try_iter()?.filter(|v| *v == wanted).count().into(),
        "copy" => {
            most = 0;
            value.clone()
        }
        _ => return Err(unknown(name)),
    };
    args.end(most)?;
    Ok(found)
}
