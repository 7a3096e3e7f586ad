//! `text % values`, as C's `printf`.

use minijinja::Error;
use minijinja::value::{Value, ValueKind};

use super::args::invalid;
use super::guard::Budget;
use super::spec::{Spec, fill_up};
use super::values::{self, Number, printed, represented};

/// What the codes of a `%` take.
struct Source<'a> {
    values: &'a [Value],
    next: usize,
    /// For `%(name)s`.
    map: Option<&'a Value>,
}

impl Source<'_> {
    fn next(&mut self) -> Result<Value, Error> {
        let value = self.values.get(self.next).cloned();
        self.next += 1;
        value.ok_or_else(|| invalid("`%` has fewer values than its text asks for"))
    }

    /// A width or precision: a number, or `*` for a value.
    fn size<'b>(&mut self, rest: &'b str) -> Result<(Option<i64>, &'b str), Error> {
        if let Some(rest) = rest.strip_prefix('*') {
            return Ok((Some(i64::try_from(self.next()?)?), rest));
        }
        let end = rest.find(|c: char| !c.is_ascii_digit());
        let (digits, rest) = rest.split_at(end.unwrap_or(rest.len()));
        Ok(match digits {
            "" => (None, rest),
            digits => (Some(digits.parse().unwrap_or(i64::MAX)), rest),
        })
    }
}

/// `text % value`, as C's `printf`.
pub(super) fn percent(budget: &Budget, text: &str, value: &Value) -> Result<String, Error> {
    let values: Vec<Value> = if value.is_tuple() {
        value.try_iter()?.collect()
    } else {
        vec![value.clone()]
    };
    let map = !value.is_tuple() && matches!(value.kind(), ValueKind::Map | ValueKind::Seq);
    let mut source = Source {
        values: &values,
        next: 0,
        map: map.then_some(value),
    };
    let (mut out, mut rest, mut named) = (String::new(), text, false);
    while let Some(at) = rest.find('%') {
        out += &rest[..at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let mut given = None;
        if let Some(after) = rest.strip_prefix('(') {
            let (name, after) = after
                .split_once(')')
                .ok_or_else(|| invalid("`%` has a name without its end"))?;
            let found = source
                .map
                .map(|map| map.get_item(&name.into()))
                .transpose()?;
            let found = found.filter(|value| !value.is_undefined());
            given = Some(found.ok_or_else(|| invalid(format!("`%` has no value `{name}`")))?);
            (rest, named) = (after, true);
        }
        let flags = rest.len() - rest.trim_start_matches(['-', '+', ' ', '0', '#']).len();
        let (flags, after) = rest.split_at(flags);
        let (width, after) = source.size(after)?;
        let (precision, after) = match after.strip_prefix('.') {
            Some(after) => {
                let (precision, after) = source.size(after)?;
                (Some(precision.unwrap_or(0)), after)
            }
            None => (None, after),
        };
        let after = after.strip_prefix(['h', 'l', 'L']).unwrap_or(after);
        let kind = after
            .chars()
            .next()
            .ok_or_else(|| invalid("`%` stands at the end of its text"))?;
        rest = &after[kind.len_utf8()..];
        let value = match given {
            Some(value) => value,
            None => source.next()?,
        };
        let size = |n: i64| usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
        let left = flags.contains('-') || width.is_some_and(|n| n < 0);
        let spec = Spec {
            align: left.then_some('<'),
            sign: ['+', ' '].into_iter().find(|c| flags.contains(*c)),
            alternate: flags.contains('#'),
            width: width.map_or(0, size),
            precision: precision.map(|n| size(n.max(0))),
            ..Spec::default()
        };
        let written = printf(budget, spec, flags.contains('0'), kind, &value)?;
        budget.allow(out.len() + rest.len() + written.len())?;
        out += &written;
    }
    if source.next < values.len() && !map && !named {
        return Err(invalid("`%` has more values than its text asks for"));
    }
    Ok(out + rest)
}

/// One code of `%`.
fn printf(
    budget: &Budget,
    mut spec: Spec,
    zeros: bool,
    kind: char,
    value: &Value,
) -> Result<String, Error> {
    let wrong = || invalid(format!("`%{kind}` cannot write a {}", value.kind()));
    if zeros && spec.align.is_none() && !matches!(kind, 's' | 'r' | 'a' | 'c') {
        (spec.fill, spec.align) = (Some('0'), Some('='));
    }
    spec.kind = Some(kind);
    let number = Number::of(value);
    match kind {
        's' | 'r' | 'a' => {
            budget.measure(value)?;
            let text = match kind {
                's' => printed(value),
                'r' => represented(value),
                _ => values::ascii(value),
            };
            let text: String = match spec.precision {
                Some(most) => text.chars().take(most).collect(),
                None => text,
            };
            spec.filled(budget, &text, '>')
        }
        'c' => {
            let mut chars = value.as_str().unwrap_or_default().chars();
            let c = match (chars.next(), chars.next(), number) {
                (Some(c), None, _) => Some(c),
                (_, _, Some(Number::Int(n))) => u32::try_from(n).ok().and_then(char::from_u32),
                _ => None,
            };
            spec.filled(budget, &c.ok_or_else(wrong)?.to_string(), '>')
        }
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
            let n = match number {
                Some(Number::Int(n)) => n,
                Some(Number::Float(x)) if x.is_finite() && matches!(kind, 'd' | 'i' | 'u') => {
                    x as i128
                }
                _ => return Err(wrong()),
            };
            let mut digits = spec.integer(n);
            // A precision of whole numbers is the least number of digits.
            let least = spec.precision.unwrap_or(0);
            digits.whole = fill_up(budget, &digits.whole, least, '0', '>')?;
            spec.number(budget, digits)
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let x = number.ok_or_else(wrong)?.float();
            spec.number(budget, spec.float(x)?)
        }
        _ => Err(invalid(format!("`%{kind}` is no format"))),
    }
}
