//! `tojson` as Hugging Face has it: Python's `json.dumps` with every character as it is.

use minijinja::Error;
use minijinja::value::{Value, ValueKind};

use super::args::{Args, invalid};
use super::guard::Budget;
use super::values::{self, Number};

struct Json {
    /// What a line begins with, for each level.
    indent: Option<String>,
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
        if let Some(indent) = &self.indent {
            out.push('\n');
            *out += &indent.repeat(depth);
        }
    }

    /// What is neither a list nor a dictionary.
    fn plain(value: &Value) -> Option<String> {
        Some(match value.kind() {
            ValueKind::None => "null".into(),
            ValueKind::Bool => value.to_string().to_lowercase(),
            ValueKind::Number => match Number::of(value) {
                Some(Number::Float(x)) if x.is_nan() => "NaN".into(),
                Some(Number::Float(x)) if x.is_infinite() => {
                    if x > 0.0 { "Infinity" } else { "-Infinity" }.into()
                }
                Some(Number::Float(x)) => values::float(x),
                _ => value.to_string(),
            },
            _ => return None,
        })
    }

    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Undefined => return Err(invalid("an undefined value is no JSON")),
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
                    match (key.as_str(), Json::plain(key)) {
                        (Some(text), _) => self.text(text, out),
                        (_, Some(text)) => self.text(&text, out),
                        _ => return Err(invalid(format!("a {} is no key of JSON", key.kind()))),
                    }
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
            kind => match Json::plain(value) {
                Some(text) => *out += &text,
                None => return Err(invalid(format!("a {kind} is no JSON"))),
            },
        }
        Ok(())
    }
}

/// `tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(super) fn to_json(budget: &Budget, value: &Value, args: &Args) -> Result<String, Error> {
    /// Widest indentation, in bytes.
    const MAX_INDENT: usize = 64;
    let too_wide = || invalid(format!("tojson: indent is more than {MAX_INDENT} wide"));
    let indent = match args.some(1, "indent")? {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => {
                let width = usize::try_from(i64::try_from(indent)?.max(0));
                " ".repeat(width.unwrap_or(usize::MAX).min(MAX_INDENT + 1))
            }
        }),
    };
    if indent.as_ref().is_some_and(|text| text.len() > MAX_INDENT) {
        return Err(too_wide());
    }
    let comma = if indent.is_some() { "," } else { ", " };
    let separators = match args.some(2, "separators")? {
        None => (comma.to_owned(), ": ".to_owned()),
        Some(both) => {
            let both: Vec<Value> = both.try_iter()?.collect();
            match both.iter().map(Value::as_str).collect::<Vec<_>>()[..] {
                [Some(a), Some(b)] => (a.to_owned(), b.to_owned()),
                _ => return Err(invalid("tojson: separators are two texts")),
            }
        }
    };
    let json = Json {
        indent,
        separators,
        ascii: args.flag(0, "ensure_ascii")?,
        sorted: args.flag(3, "sort_keys")?,
    };
    args.end(4)?;
    let bytes = budget.measure(value)?;
    // Escapes take six bytes at most; an element has its separators and, for each level, its
    // indentation.
    let depth = depth(value) + 1;
    let width = json
        .indent
        .as_ref()
        .map_or(0, |text| 1 + depth * text.len());
    let around = json.separators.0.len() + json.separators.1.len() + width;
    budget.allow(bytes.saturating_mul(6 + around.div_ceil(4)))?;
    let mut out = String::new();
    json.write(value, 0, &mut out)?;
    Ok(out)
}

/// Lists inside lists. [`Budget::measure`] has it bounded.
fn depth(value: &Value) -> usize {
    let map = value.kind() == ValueKind::Map;
    if !map && value.kind() != ValueKind::Seq {
        return 0;
    }
    let inner = |element: Value| {
        if map {
            depth(&value.get_item(&element).unwrap_or_default())
        } else {
            depth(&element)
        }
    };
    1 + value
        .try_iter()
        .map_or(0, |elements| elements.map(inner).max().unwrap_or(0))
}
