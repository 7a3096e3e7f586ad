//! Values as Python prints them.

use minijinja::value::{Value, ValueKind};

/// A number as Python has it, where True is 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    pub fn of(value: &Value) -> Option<Self> {
        match value.kind() {
            ValueKind::Bool => Some(Number::Int(value.is_true().into())),
            ValueKind::Number if value.is_integer() => {
                i128::try_from(value.clone()).ok().map(Number::Int)
            }
            ValueKind::Number => f64::try_from(value.clone()).ok().map(Number::Float),
            _ => None,
        }
    }

    pub fn float(self) -> f64 {
        match self {
            Number::Int(n) => n as f64,
            Number::Float(x) => x,
        }
    }
}

impl From<Number> for Value {
    fn from(n: Number) -> Value {
        match n {
            Number::Int(n) => n.into(),
            Number::Float(x) => x.into(),
        }
    }
}

/// As Python prints a value: `None`, `True`, texts as they are.
pub(super) fn printed(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => represented(value),
    }
}

/// As Python shows a value inside a list.
pub(super) fn represented(value: &Value) -> String {
    let mut out = String::new();
    represent(value, &mut out);
    out
}

/// `repr` of a float: the fewest digits that give it back.
pub(super) fn float(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.into();
    }
    let short = format!("{x:e}");
    let (digits, exponent) = short.split_once('e').unwrap_or((&short, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{x:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Whether `repr` shows it as it is.
pub(super) fn printable(c: char) -> bool {
    c == ' '
        || !(c.is_control()
            || c.is_whitespace()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{f0000}'..))
}

fn quoted(text: &str, out: &mut String) {
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
            c if printable(c) => out.push(c),
            c => *out += &escaped(c),
        }
    }
    out.push(quote);
}

fn escaped(c: char) -> String {
    match u32::from(c) {
        n @ ..=0xff => format!("\\x{n:02x}"),
        n @ ..=0xffff => format!("\\u{n:04x}"),
        n => format!("\\U{n:08x}"),
    }
}

/// Python's `ascii`: `repr` with everything else escaped.
pub(super) fn ascii(value: &Value) -> String {
    let shown = represented(value);
    let part = |c: char| {
        if c.is_ascii() {
            c.to_string()
        } else {
            escaped(c)
        }
    };
    shown.chars().map(part).collect()
}

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
        ValueKind::String => quoted(value.as_str().unwrap_or_default(), out),
        ValueKind::Number => match Number::of(value) {
            Some(Number::Float(x)) => *out += &float(x),
            _ => *out += &value.to_string(),
        },
        ValueKind::Seq | ValueKind::Iterable => {
            let tuple = value.is_tuple();
            out.push(if tuple { '(' } else { '[' });
            list(out);
            if tuple && value.len() == Some(1) {
                out.push(',');
            }
            out.push(if tuple { ')' } else { ']' });
        }
        ValueKind::Map => {
            out.push('{');
            list(out);
            out.push('}');
        }
        _ => *out += &value.to_string(),
    }
}
