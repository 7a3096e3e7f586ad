//! The methods of Python's strings, lists and dictionaries that published chat templates call.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::functions::{arguments, printed, replace};
use super::guard::Budget;

pub(super) fn method(
    budget: &Budget,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let (args, named) = arguments(args)?;
    // Python's names of the arguments that templates give by name.
    let number = |place: usize, key: &str| -> Result<Option<i64>, Error> {
        match args.get(place) {
            Some(n) => Ok(Some(i64::try_from(n.clone())?)),
            None => named.get(key),
        }
    };
    match value.kind() {
        ValueKind::String => {
            let s = value.as_str().unwrap_or_default();
            match name {
                "replace" => {
                    let (from, to) = (text(&args, 0, name)?, text(&args, 1, name)?);
                    replace(budget, s, &from, &to, number(2, "count")?).map(Value::from)
                }
                "split" | "rsplit" => {
                    let by = match args.first() {
                        Some(by) => Some(by.clone()),
                        None => named.get("sep")?,
                    };
                    let by = by.filter(|by| !by.is_none());
                    let by = by.as_ref().map(|by| text_of(by, name, 0)).transpose()?;
                    let most = number(1, "maxsplit")?.and_then(|n| usize::try_from(n).ok());
                    split(s, by.as_deref(), most, name == "rsplit")
                }
                "format" => format(budget, s, &args, &named).map(Value::from),
                _ => string(s, name, &args),
            }
        }
        ValueKind::Map => map(value, name, &args),
        ValueKind::Seq | ValueKind::Iterable => list(value, name, &args),
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> Error {
    Error::new(
        ErrorKind::UnknownMethod,
        format!("there is no method `{name}`"),
    )
}

fn text_of(value: &Value, name: &str, i: usize) -> Result<String, Error> {
    let message = || format!("`{name}` takes a text as argument {}", i + 1);
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, message()))
}

fn text(args: &[Value], i: usize, name: &str) -> Result<String, Error> {
    text_of(args.get(i).unwrap_or(&Value::UNDEFINED), name, i)
}

/// `str.format` without widths and the like: `{}`, `{0}`, `{name}`.
fn format(budget: &Budget, s: &str, args: &[Value], named: &Kwargs) -> Result<String, Error> {
    let fail = |what: &str| {
        let message = format!("`format` with `{{{what}}}` is not supported, or has no argument");
        Err(Error::new(ErrorKind::InvalidOperation, message))
    };
    let (mut out, mut rest, mut next) = (String::new(), s, 0);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        out += before;
        if let Some(after) = brace.strip_prefix("{{").or(brace.strip_prefix("}}")) {
            out.push_str(&brace[..1]);
            rest = after;
            continue;
        }
        let Some((field, after)) = brace[1..]
            .split_once('}')
            .filter(|_| brace.starts_with('{'))
        else {
            return fail("");
        };
        rest = after;
        let value = match field {
            "" => {
                next += 1;
                args.get(next - 1).cloned()
            }
            _ => match field.parse::<usize>() {
                Ok(i) => args.get(i).cloned(),
                Err(_) => named.get(field)?,
            },
        };
        let Some(value) = value else {
            return fail(field);
        };
        budget.allow(out.len() + rest.len() + budget.measure(&value)?)?;
        out += &printed(&value);
    }
    Ok(out + rest)
}

/// At most `most` cuts, from the right with `last`; at white space without `by`.
fn split(s: &str, by: Option<&str>, most: Option<usize>, last: bool) -> Result<Value, Error> {
    let most = most.unwrap_or(usize::MAX).saturating_add(1);
    Ok(match by {
        Some("") => {
            let message = "`split` takes a separator that is not empty";
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        Some(by) if last => {
            let mut parts: Vec<Value> = s.rsplitn(most, by).map(Value::from).collect();
            parts.reverse();
            Value::from(parts)
        }
        Some(by) => s.splitn(most, by).map(Value::from).collect(),
        None => {
            let mut parts = Vec::new();
            let mut rest = s.trim();
            while !rest.is_empty() {
                let cut = if parts.len() + 1 == most {
                    None
                } else if last {
                    rest.rfind(char::is_whitespace)
                } else {
                    rest.find(char::is_whitespace)
                };
                let Some(at) = cut else {
                    parts.push(Value::from(rest));
                    break;
                };
                let (a, b) = rest.split_at(at);
                if last {
                    parts.push(Value::from(b.trim()));
                    rest = a.trim_end();
                } else {
                    parts.push(Value::from(a));
                    rest = b.trim_start();
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
fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars.flat_map(char::to_lowercase)).collect()
}

fn string(s: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    // Characters to strip; white space without an argument.
    let stripped = args.first().and_then(|v| v.as_str()).map(str::to_owned);
    let strip = |c: char| {
        stripped
            .as_ref()
            .map_or(c.is_whitespace(), |set| set.contains(c))
    };
    // One text, or any of several.
    let any = |fits: &dyn Fn(&str) -> bool| -> Result<Value, Error> {
        let first = args.first().unwrap_or(&Value::UNDEFINED);
        if first.kind() == ValueKind::Seq {
            let found = first
                .try_iter()?
                .any(|text| text.as_str().is_some_and(fits));
            return Ok(found.into());
        }
        Ok(fits(&text(args, 0, name)?).into())
    };
    // Places are counted in characters.
    let place = |at: Option<usize>| at.map_or(-1, |at| s[..at].chars().count() as i64);
    let every = |fits: &dyn Fn(char) -> bool| Value::from(!s.is_empty() && s.chars().all(fits));
    let cased = s.chars().any(|c| c.is_uppercase() || c.is_lowercase());
    Ok(match name {
        "strip" => s.trim_matches(strip).into(),
        "lstrip" => s.trim_start_matches(strip).into(),
        "rstrip" => s.trim_end_matches(strip).into(),
        "startswith" => any(&|text| s.starts_with(text))?,
        "endswith" => any(&|text| s.ends_with(text))?,
        "removeprefix" => s.strip_prefix(&text(args, 0, name)?).unwrap_or(s).into(),
        "removesuffix" => s.strip_suffix(&text(args, 0, name)?).unwrap_or(s).into(),
        "upper" => s.to_uppercase().into(),
        "lower" => s.to_lowercase().into(),
        "capitalize" => capitalized(s).into(),
        "title" => s
            .split_inclusive(|c: char| !c.is_alphabetic())
            .map(capitalized)
            .collect::<String>()
            .into(),
        "splitlines" => s.lines().map(Value::from).collect(),
        "find" => place(s.find(&text(args, 0, name)?)).into(),
        "rfind" => place(s.rfind(&text(args, 0, name)?)).into(),
        "index" | "rindex" => {
            let wanted = text(args, 0, name)?;
            let at = if name == "index" {
                s.find(&wanted)
            } else {
                s.rfind(&wanted)
            };
            if at.is_none() {
                let message = format!("`{name}`: the text is not there");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
            place(at).into()
        }
        "count" => s.matches(&text(args, 0, name)?).count().into(),
        "partition" | "rpartition" => {
            let by = text(args, 0, name)?;
            let (cut, rest) = match name {
                "partition" => (s.split_once(&by), [s, "", ""]),
                _ => (s.rsplit_once(&by), ["", "", s]),
            };
            let parts = cut.map_or(rest, |(a, b)| [a, &by, b]);
            parts.into_iter().map(Value::from).collect()
        }
        "join" => {
            let parts: Vec<Value> = args
                .first()
                .map_or(Ok(Vec::new()), |v| v.try_iter().map(Iterator::collect))?;
            let parts: Vec<&str> = parts.iter().filter_map(|v| v.as_str()).collect();
            parts.join(s).into()
        }
        "isdigit" | "isnumeric" | "isdecimal" => every(&char::is_numeric),
        "isalpha" => every(&char::is_alphabetic),
        "isalnum" => every(&char::is_alphanumeric),
        "isspace" => every(&char::is_whitespace),
        "isupper" => (cased && !s.chars().any(char::is_lowercase)).into(),
        "islower" => (cased && !s.chars().any(char::is_uppercase)).into(),
        _ => return Err(unknown(name)),
    })
}

fn map(value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let keys = || value.try_iter();
    Ok(match name {
        "get" => {
            let found = value.get_item(args.first().unwrap_or(&Value::UNDEFINED))?;
            match args.get(1) {
                _ if !found.is_undefined() => found,
                Some(default) => default.clone(),
                None => Value::from(()),
            }
        }
        "keys" => keys()?.collect(),
        "values" => keys()?
            .map(|k| value.get_item(&k))
            .collect::<Result<_, _>>()?,
        "items" => keys()?
            .map(|k| Ok(Value::from(vec![k.clone(), value.get_item(&k)?])))
            .collect::<Result<_, Error>>()?,
        "copy" => value.clone(),
        _ => return Err(unknown(name)),
    })
}

fn list(value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let wanted = args.first().unwrap_or(&Value::UNDEFINED);
    Ok(match name {
        "index" => {
            let at = value.try_iter()?.position(|v| v == *wanted);
            let message = || {
                Error::new(
                    ErrorKind::InvalidOperation,
                    "`index`: it is not in the list",
                )
            };
            at.ok_or_else(message)?.into()
        }
        "count" => value.try_iter()?.filter(|v| v == wanted).count().into(),
        "copy" => value.clone(),
        _ => return Err(unknown(name)),
    })
}
