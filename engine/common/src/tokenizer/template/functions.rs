//! What templates call that is not a method: values as Python prints them, JSON as Python writes it, the date, and those filters
//! whose result can be much larger than what they are given.

use std::sync::Arc;

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

use super::guard::{self, Budget};

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// As Python prints a value: `None`, `True`, texts as they are.
pub(super) fn printed(value: &Value) -> String {
    match value.kind() {
        ValueKind::String => value.as_str().unwrap_or_default().to_owned(),
        _ => {
            let mut out = String::new();
            represent(value, &mut out);
            out
        }
    }
}

/// As Python shows a value inside a list.
fn represent(value: &Value, out: &mut String) {
    let list = |out: &mut String| {
        for (i, element) in value.try_iter().into_iter().flatten().enumerate() {
            if i > 0 {
                *out += ", ";
            }
            represent(&element, out);
            if value.kind() == ValueKind::Map {
                *out += ": ";
                represent(&value.get_item(&element).unwrap_or_default(), out);
            }
        }
    };
    match value.kind() {
        ValueKind::Undefined => {}
        ValueKind::None => *out += "None",
        ValueKind::Bool => *out += if value.is_true() { "True" } else { "False" },
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            let quote = if text.contains('\'') && !text.contains('"') {
                '"'
            } else {
                '\''
            };
            out.push(quote);
            for c in text.chars() {
                match c {
                    '\n' => *out += "\\n",
                    '\t' => *out += "\\t",
                    '\r' => *out += "\\r",
                    '\\' => *out += "\\\\",
                    c if c == quote => out.extend(['\\', c]),
                    c => out.push(c),
                }
            }
            out.push(quote);
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            list(out);
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            list(out);
            out.push('}');
        }
        _ => *out += &value.to_string(),
    }
}

/// How `tojson` writes.
struct Json {
    indent: Option<usize>,
    /// Between elements, and behind a key.
    separators: (String, String),
    ascii: bool,
    sorted: bool,
}

impl Json {
    fn text(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => *out += "\\\"",
                '\\' => *out += "\\\\",
                '\n' => *out += "\\n",
                '\r' => *out += "\\r",
                '\t' => *out += "\\t",
                '\u{8}' => *out += "\\b",
                '\u{c}' => *out += "\\f",
                c if c < ' ' || (self.ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        *out += &format!("\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(width) = self.indent {
            out.push('\n');
            *out += &" ".repeat(width * depth);
        }
    }

    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Undefined => return Err(invalid("an undefined value is no JSON")),
            ValueKind::None => *out += "null",
            ValueKind::Bool => *out += if value.is_true() { "true" } else { "false" },
            ValueKind::Number => *out += &value.to_string(),
            ValueKind::String => self.text(value.as_str().unwrap_or_default(), out),
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                out.push('{');
                for (i, key) in keys.iter().enumerate() {
                    if i > 0 {
                        *out += &self.separators.0;
                    }
                    self.line(depth + 1, out);
                    self.text(&printed(key), out);
                    *out += &self.separators.1;
                    self.write(&value.get_item(key)?, depth + 1, out)?;
                }
                if !keys.is_empty() {
                    self.line(depth, out);
                }
                out.push('}');
            }
            ValueKind::Seq | ValueKind::Iterable => {
                out.push('[');
                let mut empty = true;
                for element in value.try_iter()? {
                    if !empty {
                        *out += &self.separators.0;
                    }
                    empty = false;
                    self.line(depth + 1, out);
                    self.write(&element, depth + 1, out)?;
                }
                if !empty {
                    self.line(depth, out);
                }
                out.push(']');
            }
            kind => return Err(invalid(format!("a {kind} is no JSON"))),
        }
        Ok(())
    }
}

/// As Hugging Face has it: Python's `json.dumps` with every character as it is.
fn to_json(
    budget: &Budget,
    value: &Value,
    indent: Option<Value>,
    named: &Kwargs,
) -> Result<String, Error> {
    /// Widest indentation.
    const MAX_INDENT: usize = 64;
    let named_indent: Option<Value> = named.get("indent")?;
    let indent = indent.or(named_indent).filter(|v| !v.is_none());
    let indent = match indent {
        None => None,
        Some(width) => Some(
            usize::try_from(width)
                .ok()
                .filter(|n| *n <= MAX_INDENT)
                .ok_or_else(|| {
                    invalid(format!("tojson: indent is no number up to {MAX_INDENT}"))
                })?,
        ),
    };
    let separators: Option<Vec<String>> = named.get("separators")?;
    let comma = if indent.is_some() { "," } else { ", " };
    let separators = match separators.as_deref() {
        Some([a, b]) => (a.clone(), b.clone()),
        _ => (comma.to_owned(), ": ".to_owned()),
    };
    let json = Json {
        indent,
        separators,
        ascii: named.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorted: named.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    // Escapes take six bytes at most, an element its line.
    let around = json.separators.0.len() + json.separators.1.len() + MAX_INDENT;
    budget.allow(budget.measure(value)?.saturating_mul(6 + around / 8))?;
    let mut out = String::new();
    json.write(value, 0, &mut out)?;
    Ok(out)
}

fn join(
    budget: &Budget,
    value: &Value,
    between: Option<&str>,
    attribute: Option<&str>,
) -> Result<String, Error> {
    let mut out = String::new();
    let between = between.unwrap_or_default();
    for (i, element) in value.try_iter()?.enumerate() {
        if i > 0 {
            out += between;
        }
        let element = match attribute {
            Some(name) => element.get_attr(name)?,
            None => element,
        };
        budget.allow(out.len() + budget.measure(&element)?)?;
        out += &printed(&element);
    }
    Ok(out)
}

/// At most `count` times, as often as there is without.
pub(super) fn replace(
    budget: &Budget,
    text: &str,
    from: &str,
    to: &str,
    count: Option<i64>,
) -> Result<String, Error> {
    let all = if from.is_empty() {
        text.chars().count() + 1
    } else {
        text.matches(from).count()
    };
    let count = count
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(all)
        .min(all);
    budget.allow(text.len().saturating_add(count.saturating_mul(to.len())))?;
    Ok(text.replacen(from, to, count))
}

fn indent(
    budget: &Budget,
    text: &str,
    width: &Value,
    first: bool,
    blank: bool,
) -> Result<String, Error> {
    let with = match width.as_str() {
        Some(text) => text.to_owned(),
        None => {
            let width = usize::try_from(width.clone())?;
            budget.allow(width)?;
            " ".repeat(width)
        }
    };
    let lines = text.lines().count();
    budget.allow(text.len().saturating_add(lines.saturating_mul(with.len())))?;
    let mut out = String::new();
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if (i > 0 || first) && (blank || !line.is_empty()) {
            out += &with;
        }
        out += line;
    }
    Ok(out)
}

/// The day of a count of days since 1970: year, month, day (Hinnant's `civil_from_days`).
fn date(days: i64) -> (i64, usize, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (
        year + 400 * era + i64::from(month <= 2),
        month as usize,
        day,
    )
}

/// Python's `strftime` of a local time, in seconds since 1970.
pub(super) fn strftime(seconds: i64, format: &str) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = [
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
    ];
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let weekday = (days + 4).rem_euclid(7) as usize;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month - 1];
    let of_year = before + day + i64::from(leap && month > 2);
    let noon = (hour + 11) % 12 + 1;
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut code = chars.next();
        let bare = code == Some('-');
        if bare {
            code = chars.next();
        }
        let mut number = |n: i64, width: usize| {
            out += &if bare {
                n.to_string()
            } else {
                format!("{n:0width$}")
            };
        };
        match code {
            Some('Y') => number(year, 4),
            Some('y') => number(year.rem_euclid(100), 2),
            Some('m') => number(month as i64, 2),
            Some('d') => number(day, 2),
            Some('H') => number(hour, 2),
            Some('I') => number(noon, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('f') => number(0, 6),
            Some('j') => number(of_year, 3),
            Some('w') => number(weekday as i64, 1),
            Some('u') => number((weekday as i64 + 6) % 7 + 1, 1),
            Some('s') => number(seconds, 1),
            Some('e') => out += &format!("{day:2}"),
            Some('B') => out += MONTHS[month - 1],
            Some('b' | 'h') => out += &MONTHS[month - 1][..3],
            Some('A') => out += DAYS[weekday],
            Some('a') => out += &DAYS[weekday][..3],
            Some('p') => out += if hour < 12 { "AM" } else { "PM" },
            Some('F') => out += &strftime(seconds, "%Y-%m-%d"),
            Some('T' | 'X') => out += &strftime(seconds, "%H:%M:%S"),
            Some('R') => out += &strftime(seconds, "%H:%M"),
            Some('D' | 'x') => out += &strftime(seconds, "%m/%d/%y"),
            Some('c') => out += &strftime(seconds, "%a %b %e %H:%M:%S %Y"),
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('%') => out.push('%'),
            Some('z' | 'Z') => {}
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

/// Give `env` everything that templates call. `now` is a local time in seconds since 1970.
pub(super) fn add(env: &mut Environment<'_>, budget: &Arc<Budget>, now: i64) {
    let b = budget.clone();
    env.add_function(
        "raise_exception",
        move |text: Value| -> Result<Value, Error> {
            let text = printed(&text);
            if let Ok(mut raised) = b.raised.lock() {
                *raised = Some(text.clone());
            }
            Err(invalid(text))
        },
    );
    let b = budget.clone();
    env.add_function(
        "strftime_now",
        move |format: &str| -> Result<String, Error> {
            // A code gives at most 24 bytes.
            b.allow(format.len().saturating_mul(12))?;
            Ok(strftime(now, format))
        },
    );
    let b = budget.clone();
    env.add_filter(
        "tojson",
        move |value: &Value, indent: Option<Value>, named: Kwargs| {
            to_json(&b, value, indent, &named)
        },
    );
    let b = budget.clone();
    env.add_filter(
        "join",
        move |value: &Value, between: Option<&str>, attribute: Option<&str>, named: Kwargs| {
            let attribute = match attribute {
                Some(name) => Some(name),
                None => named.get("attribute")?,
            };
            let between = match between {
                Some(text) => Some(text),
                None => named.get("d")?,
            };
            join(&b, value, between, attribute)
        },
    );
    let b = budget.clone();
    env.add_filter(
        "replace",
        move |text: &Value, from: &str, to: &str, count: Option<i64>| {
            replace(&b, &printed(text), from, to, count)
        },
    );
    let b = budget.clone();
    env.add_filter(
        "indent",
        move |text: &str,
              width: Option<Value>,
              first: Option<bool>,
              blank: Option<bool>,
              named: Kwargs| {
            let width = match width {
                Some(width) => Some(width),
                None => named.get("width")?,
            };
            let first = first.or(named.get("first")?).unwrap_or(false);
            let blank = blank.or(named.get("blank")?).unwrap_or(false);
            indent(
                &b,
                text,
                &width.unwrap_or_else(|| Value::from(4)),
                first,
                blank,
            )
        },
    );
    env.add_filter("string", |value: &Value| printed(value));
    // As Python has it: a text is a sequence, None cannot be gone through.
    for name in ["iterable", "sequence"] {
        env.add_test(name, |value: &Value| {
            matches!(
                value.kind(),
                ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable
            )
        });
    }
    // Widths in a format would make texts of any length; `batch` and its like make lists of any length.
    for name in ["format", "batch", "slice", "zip", "chain", "pprint", "sum"] {
        env.remove_filter(name);
    }
    env.remove_global("debug");

    let b = budget.clone();
    env.add_filter(
        guard::MEASURE,
        move |value: Value| -> Result<Value, Error> {
            b.measure(&value)?;
            Ok(value)
        },
    );
    let b = budget.clone();
    env.add_filter(
        guard::CONCAT,
        move |left: &Value, right: &Value| -> Result<String, Error> {
            b.allow(b.measure(left)? + b.measure(right)?)?;
            Ok(printed(left) + &printed(right))
        },
    );
    let b = budget.clone();
    env.add_filter(guard::REPEAT, move |left: &Value, right: &Value| {
        b.repeat(left, right)
    });
    let b = budget.clone();
    env.add_filter(guard::STORE, move |value: Value| -> Result<Value, Error> {
        b.store(&value)?;
        Ok(value)
    });
    let b = budget.clone();
    env.add_filter(guard::TICK, move |_: Value| -> Result<Value, Error> {
        b.tick()?;
        Ok(Value::UNDEFINED)
    });
    let b = budget.clone();
    env.set_formatter(move |out, _, value| {
        if value.is_undefined() {
            return Ok(());
        }
        b.print(b.measure(value)?)?;
        out.write_str(&printed(value))?;
        Ok(())
    });
    let b = budget.clone();
    env.set_unknown_method_callback(move |_, value, name, args| {
        super::python::method(&b, value, name, args)
    });
}

/// The arguments by place and by name.
pub(super) fn arguments(args: &[Value]) -> Result<(Vec<Value>, Kwargs), Error> {
    let (Rest(by_place), named): (Rest<Value>, Kwargs) = minijinja::value::from_args(args)?;
    Ok((by_place, named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_pythons() {
        // 2024-02-29 13:05:09, a Thursday.
        let at = 1_709_211_909;
        assert_eq!(strftime(at, "%Y-%m-%d %H:%M:%S"), "2024-02-29 13:05:09");
        assert_eq!(
            strftime(at, "%d %B %Y, %A %a %b %y %-d %j %I %p %%"),
            "29 February 2024, Thursday Thu Feb 24 29 060 01 PM %"
        );
        assert_eq!(
            strftime(0, "%F %T %-m/%e %q"),
            "1970-01-01 00:00:00 1/ 1 %q"
        );
        assert_eq!(strftime(-1, "%F %T"), "1969-12-31 23:59:59");
        assert_eq!(
            strftime(951_782_400 + 366 * 86_400, "%F %j"),
            "2001-03-01 060"
        );
    }
}
