//! Numbers: `%`, and the filters `int`, `float`, `filesizeformat`.

use minijinja::Error;
use minijinja::value::{Value, ValueKind};

use super::args::{Args, invalid};
use super::values::Number;

/// `left % right` of numbers: the sign is the right one's.
pub(super) fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    let kinds = || invalid(format!("there is no {} % {}", left.kind(), right.kind()));
    let (a, b) = (Number::of(left), Number::of(right));
    let (a, b) = (a.ok_or_else(kinds)?, b.ok_or_else(kinds)?);
    if b.float() == 0.0 {
        return Err(invalid("a number is divided by 0"));
    }
    if let (Number::Int(a), Number::Int(b)) = (a, b) {
        let rest = a.checked_rem(b).unwrap_or(0);
        let other = rest != 0 && (rest < 0) != (b < 0);
        return Ok(if other { rest + b } else { rest }.into());
    }
    let (a, b) = (a.float(), b.float());
    let rest = a % b;
    let other = rest != 0.0 && (rest < 0.0) != (b < 0.0);
    Ok(if other {
        rest + b
    } else {
        rest.abs().copysign(b)
    }
    .into())
}

/// Without the underscores that Python allows between digits.
fn joined(text: &str) -> Option<String> {
    let wrong = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    (!wrong).then(|| text.replace('_', ""))
}

/// Python's `int(text, base)`.
fn parse_int(text: &str, base: u32) -> Option<i128> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_lowercase();
    let prefixes = [("0x", 16), ("0o", 8), ("0b", 2)];
    let found = prefixes
        .into_iter()
        .find(|(prefix, of)| lower.starts_with(prefix) && (base == 0 || base == *of));
    let (digits, base) = match found {
        // An underscore may follow the prefix.
        Some((_, of)) => (lower[2..].strip_prefix('_').unwrap_or(&lower[2..]), of),
        None if base == 0 => (lower.as_str(), 10),
        None => (lower.as_str(), base),
    };
    let digits = joined(digits)?;
    if !(2..=36).contains(&base) || digits.starts_with(['+', '-']) {
        return None;
    }
    let n = i128::from_str_radix(&digits, base).ok()?;
    Some(if negative { -n } else { n })
}

/// Python's `float(text)`.
fn parse_float(text: &str) -> Option<f64> {
    joined(text.trim())?.parse().ok()
}

/// `int(default=0, base=10)`: what is no number becomes the default.
pub(super) fn int(value: &Value, args: &Args) -> Result<Value, Error> {
    let default = args.get(0, "default")?.unwrap_or_else(|| 0.into());
    let base = args.integer(1, "base")?.unwrap_or(10);
    args.end(2)?;
    let whole = |x: f64| {
        let range = x.is_finite() && x.abs() < 1e38;
        range.then_some(x as i128)
    };
    let n = match (value.as_str(), Number::of(value)) {
        (Some(text), _) => {
            let base = u32::try_from(base).unwrap_or(u32::MAX);
            parse_int(text, base).or_else(|| whole(parse_float(text)?))
        }
        (_, Some(Number::Int(n))) => Some(n),
        (_, Some(Number::Float(x))) => whole(x),
        _ => None,
    };
    Ok(n.map_or(default, Value::from))
}

/// `float(default=0.0)`.
pub(super) fn float(value: &Value, args: &Args) -> Result<Value, Error> {
    let default = args.get(0, "default")?.unwrap_or_else(|| 0.0.into());
    args.end(1)?;
    let x = match value.kind() {
        ValueKind::String => parse_float(value.as_str().unwrap_or_default()),
        _ => Number::of(value).map(Number::float),
    };
    Ok(x.map_or(default, Value::from))
}

/// `filesizeformat(binary=false)`: `13 Bytes`, `4.1 MB`.
pub(super) fn file_size(value: &Value, args: &Args) -> Result<String, Error> {
    let binary = args.flag(0, "binary")?;
    args.end(1)?;
    let bytes = match value.as_str() {
        Some(text) => parse_float(text),
        None => Number::of(value).map(Number::float),
    };
    let bytes = bytes.ok_or_else(|| invalid("`filesizeformat` takes a number"))?;
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Ok("1 Byte".into());
    }
    if bytes < base {
        return Ok(format!("{} Bytes", bytes as i128));
    }
    let (mut unit, mut prefixes) = (base, "KMGTPEZY".chars().peekable());
    while let Some(prefix) = prefixes.next() {
        if bytes < unit * base || prefixes.peek().is_none() {
            let name = match (prefix, binary) {
                (prefix, true) => format!("{prefix}iB"),
                ('K', false) => "kB".into(),
                (prefix, false) => format!("{prefix}B"),
            };
            return Ok(format!("{:.1} {name}", bytes / unit));
        }
        unit *= base;
    }
    Ok(String::new())
}
