//! Values in texts: `'%5.2f' % x` and `'{:>5}'.format(x)`. Widths and precisions are bounded like any text.

use minijinja::Error;
use minijinja::value::{Value, ValueKind};

use super::args::{Args, invalid};
use super::guard::Budget;
use super::values::{self, Number, printed, represented};

/// Most digits behind the point: an `f64` has no more.
const MAX_DIGITS: usize = 1100;

/// How one value is written.
#[derive(Clone, Debug, Default)]
struct Spec {
    fill: Option<char>,
    /// `<`, `>`, `^`, or `=` for what is filled behind the sign.
    align: Option<char>,
    /// `+` or a space, for numbers that are not negative.
    sign: Option<char>,
    alternate: bool,
    /// Between groups of digits.
    group: Option<char>,
    width: usize,
    precision: Option<usize>,
    /// `d`, `x`, `f` and so on; none says it by the value.
    kind: Option<char>,
}

/// A number before it is filled up.
struct Digits {
    negative: bool,
    prefix: &'static str,
    whole: String,
    /// Point, decimals, exponent.
    rest: String,
}

fn exponent(x: f64, digits: usize) -> (String, i32) {
    let text = format!("{x:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.to_owned(), exponent.parse().unwrap_or(0))
}

fn scientific(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// C's `%g`: as many digits as asked for, without zeros at the end. `point` keeps one digit behind the point.
fn general(x: f64, precision: usize, alternate: bool, point: bool) -> String {
    let precision = precision.max(1);
    let (mantissa, exponent) = exponent(x, precision - 1);
    let limit = precision as i32 - i32::from(point);
    let fixed = exponent >= -4 && exponent < limit.max(1);
    let text = if fixed {
        let digits = usize::try_from(precision as i32 - 1 - exponent).unwrap_or(0);
        format!("{x:.digits$}")
    } else {
        mantissa
    };
    let text = match (alternate, text.contains('.')) {
        (true, true) => text,
        (true, false) => text + ".",
        (false, true) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        (false, false) => text,
    };
    match fixed {
        true if point && !text.contains('.') => text + ".0",
        true => text,
        false => scientific(&text, exponent),
    }
}

impl Spec {
    fn integer(&self, n: i128) -> Digits {
        let size = n.unsigned_abs();
        let (whole, prefix) = match self.kind {
            Some('x') => (format!("{size:x}"), "0x"),
            Some('X') => (format!("{size:X}"), "0X"),
            Some('o') => (format!("{size:o}"), "0o"),
            Some('b') => (format!("{size:b}"), "0b"),
            _ => (size.to_string(), ""),
        };
        Digits {
            negative: n < 0,
            prefix: if self.alternate { prefix } else { "" },
            whole,
            rest: String::new(),
        }
    }

    fn float(&self, x: f64) -> Result<Digits, Error> {
        let precision = self.precision.unwrap_or(6);
        if precision > MAX_DIGITS {
            return Err(invalid(format!(
                "a number is asked for with more than {MAX_DIGITS} digits"
            )));
        }
        let size = x.abs();
        let kind = self.kind.unwrap_or('r');
        let text = if size.is_nan() {
            "nan".into()
        } else if size.is_infinite() {
            "inf".into()
        } else {
            let text = match kind.to_ascii_lowercase() {
                'f' => format!("{size:.precision$}"),
                '%' => format!("{:.precision$}", 100.0 * size),
                'e' => {
                    let (mantissa, exponent) = exponent(size, precision);
                    scientific(&mantissa, exponent)
                }
                'g' => general(size, precision, self.alternate, false),
                _ if self.precision.is_some() => general(size, precision, self.alternate, true),
                _ => values::float(size),
            };
            match self.alternate && precision == 0 && matches!(kind, 'f' | 'F' | '%') {
                true => text + ".",
                false => text,
            }
        };
        let text = if kind.is_ascii_uppercase() {
            text.to_uppercase()
        } else {
            text
        };
        let text = if kind == '%' { text + "%" } else { text };
        let at = text.find(|c: char| !c.is_ascii_digit());
        let (whole, rest) = text.split_at(at.unwrap_or(text.len()));
        Ok(Digits {
            negative: x.is_sign_negative() && !x.is_nan(),
            prefix: "",
            whole: whole.to_owned(),
            rest: rest.to_owned(),
        })
    }

    /// A number with its sign, filled up.
    fn number(&self, budget: &Budget, digits: Digits) -> Result<String, Error> {
        let Digits {
            negative,
            prefix,
            mut whole,
            rest,
        } = digits;
        let sign = match self.sign {
            _ if negative => "-",
            Some('+') => "+",
            Some(' ') => " ",
            _ => "",
        };
        budget.allow(self.width)?;
        if let Some(mark) = self.group {
            let zeros = self.align == Some('=') && self.fill == Some('0');
            let around = sign.len() + prefix.len() + rest.len();
            let every = if matches!(self.kind, Some('x' | 'X' | 'o' | 'b')) {
                4
            } else {
                3
            };
            // Zeros are put in groups, too.
            let wanted = self.width.saturating_sub(around);
            let mut count = whole.len();
            while zeros && count + (count - 1) / every < wanted {
                count += 1;
            }
            let padded = "0".repeat(count - whole.len()) + &whole;
            whole = String::new();
            for (i, c) in padded.chars().enumerate() {
                if i > 0 && (count - i).is_multiple_of(every) {
                    whole.push(mark);
                }
                whole.push(c);
            }
        }
        if self.align == Some('=') {
            let taken = sign.len() + prefix.len() + whole.len() + rest.len();
            let fill = self.fill.unwrap_or(' ');
            let missing = self.width.saturating_sub(taken);
            budget.allow(missing.saturating_mul(fill.len_utf8()))?;
            let fill: String = std::iter::repeat_n(fill, missing).collect();
            return Ok([sign, prefix, &fill, &whole, &rest].concat());
        }
        self.filled(budget, &[sign, prefix, &whole, &rest].concat(), '>')
    }

    /// A text, filled up. Texts are to the left, numbers to the right if nothing else is said.
    fn filled(&self, budget: &Budget, text: &str, otherwise: char) -> Result<String, Error> {
        let fill = self.fill.unwrap_or(' ');
        let align = self.align.unwrap_or(otherwise);
        fill_up(budget, text, self.width, fill, align)
    }

    /// What `{:spec}` says.
    fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || invalid(format!("`format` does not know the format `{text}`"));
        let mut spec = Spec::default();
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        let is_align = |c: Option<&char>| c.is_some_and(|c| matches!(c, '<' | '>' | '=' | '^'));
        if is_align(chars.get(1)) {
            (spec.fill, spec.align, at) = (Some(chars[0]), Some(chars[1]), 2);
        } else if is_align(chars.first()) {
            (spec.align, at) = (Some(chars[0]), 1);
        }
        let mut next = |wanted: &[char]| {
            let found = chars.get(at).copied().filter(|c| wanted.contains(c));
            at += usize::from(found.is_some());
            found
        };
        spec.sign = next(&['+', '-', ' ']);
        spec.alternate = next(&['#']).is_some();
        if next(&['0']).is_some() {
            spec.fill.get_or_insert('0');
            spec.align.get_or_insert('=');
        }
        let mut number = |next: &mut dyn FnMut(&[char]) -> Option<char>| {
            let mut n: Option<usize> = None;
            while let Some(digit) = next(&['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
                let digit = digit as usize - '0' as usize;
                n = Some(n.unwrap_or(0).saturating_mul(10).saturating_add(digit));
            }
            n
        };
        spec.width = number(&mut next).unwrap_or(0);
        spec.group = next(&[',', '_']);
        if next(&['.']).is_some() {
            spec.precision = Some(number(&mut next).ok_or_else(wrong)?);
        }
        spec.kind = chars.get(at).copied();
        if chars.len() > at + 1 {
            return Err(wrong());
        }
        Ok(spec)
    }

    /// `format(value, spec)`.
    fn write(&self, budget: &Budget, value: &Value) -> Result<String, Error> {
        let wrong = || {
            let kind = self.kind.unwrap_or(' ');
            invalid(format!(
                "`format` cannot write a {} as `{kind}`",
                value.kind()
            ))
        };
        if let Some(text) = value.as_str() {
            let number = self.sign.is_some() || self.alternate || self.group.is_some();
            if number || !matches!(self.kind, None | Some('s')) {
                return Err(wrong());
            }
            let cut: String = match self.precision {
                Some(most) => text.chars().take(most).collect(),
                None => text.to_owned(),
            };
            return match self.align {
                // `{:05}` fills texts with zeros to the right.
                Some('=') => fill_up(budget, &cut, self.width, self.fill.unwrap_or(' '), '<'),
                _ => self.filled(budget, &cut, '<'),
            };
        }
        let number = Number::of(value).ok_or_else(wrong)?;
        match (self.kind, number) {
            (None | Some('d' | 'n' | 'x' | 'X' | 'o' | 'b'), Number::Int(n))
                if self.precision.is_none() =>
            {
                self.number(budget, self.integer(n))
            }
            (Some('c'), Number::Int(n)) => {
                let c = u32::try_from(n).ok().and_then(char::from_u32);
                self.filled(budget, &c.ok_or_else(wrong)?.to_string(), '<')
            }
            (None, Number::Float(_)) | (Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%'), _) => {
                self.number(budget, self.float(number.float())?)
            }
            _ => Err(wrong()),
        }
    }
}

/// `text` with as much `fill` as `width` characters take: behind it (`<`), before it (`>`) or around it (`^`).
pub(super) fn fill_up(
    budget: &Budget,
    text: &str,
    width: usize,
    fill: char,
    align: char,
) -> Result<String, Error> {
    let missing = width.saturating_sub(text.chars().count());
    budget.allow(
        text.len()
            .saturating_add(missing.saturating_mul(fill.len_utf8())),
    )?;
    let before = match align {
        '<' => 0,
        '^' => missing / 2,
        _ => missing,
    };
    let mut out: String = std::iter::repeat_n(fill, before).collect();
    out += text;
    out.extend(std::iter::repeat_n(fill, missing - before));
    Ok(out)
}

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

/// The values of `str.format`.
struct Fields<'a> {
    args: &'a Args,
    /// The place of the next `{}`; none after a place was named.
    next: Option<usize>,
}

impl Fields<'_> {
    fn value(&mut self, field: &str) -> Result<Value, Error> {
        let missing = || invalid(format!("`format` has no value for `{{{field}}}`"));
        let end = field.find(['.', '[']).unwrap_or(field.len());
        let (name, mut path) = field.split_at(end);
        let by_place = |i: usize| self.args.by_place().get(i).cloned();
        let mut value = if name.is_empty() {
            let Some(next) = self.next else {
                return Err(invalid("`format` has both `{}` and `{0}`"));
            };
            self.next = Some(next + 1);
            by_place(next)
        } else if let Ok(i) = name.parse() {
            if self.next.is_some_and(|next| next > 0) {
                return Err(invalid("`format` has both `{}` and `{0}`"));
            }
            self.next = None;
            by_place(i)
        } else {
            self.args.named(name)?
        }
        .ok_or_else(missing)?;
        while !path.is_empty() {
            let (key, after) = if let Some(rest) = path.strip_prefix('[') {
                rest.split_once(']').ok_or_else(missing)?
            } else {
                let rest = path.strip_prefix('.').ok_or_else(missing)?;
                rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()))
            };
            value = match key.parse::<usize>() {
                Ok(i) => value.get_item(&i.into())?,
                Err(_) => value.get_item(&key.into())?,
            };
            if value.is_undefined() {
                return Err(missing());
            }
            path = after;
        }
        Ok(value)
    }

    /// `inner` is what stands inside a format: `{:{width}}`.
    fn write(&mut self, budget: &Budget, text: &str, inner: bool) -> Result<String, Error> {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            out += before;
            if let Some(after) = brace.strip_prefix("{{").or(brace.strip_prefix("}}")) {
                out.push_str(&brace[..1]);
                rest = after;
                continue;
            }
            if brace.starts_with('}') {
                return Err(invalid("`format` has a single `}`"));
            }
            let mut depth = 0;
            let end = brace.char_indices().find(|(_, c)| {
                depth += match c {
                    '{' => 1,
                    '}' => -1,
                    _ => 0,
                };
                depth == 0
            });
            let (end, _) = end.ok_or_else(|| invalid("`format` has a single `{`"))?;
            rest = &brace[end + 1..];
            let field = &brace[1..end];
            let (field, spec) = field.split_once(':').unwrap_or((field, ""));
            let (field, conversion) = field.split_once('!').unwrap_or((field, ""));
            let value = self.value(field)?;
            budget.allow(out.len() + rest.len() + budget.measure(&value)?)?;
            let value = match conversion {
                "" => value,
                "s" => printed(&value).into(),
                "r" => represented(&value).into(),
                "a" => values::ascii(&value).into(),
                _ => return Err(invalid(format!("`format` knows no `!{conversion}`"))),
            };
            let spec = match spec.contains('{') {
                true if inner => return Err(invalid("`format` is nested too deep")),
                true => self.write(budget, spec, true)?,
                false => spec.to_owned(),
            };
            let written = match spec.as_str() {
                "" => printed(&value),
                spec => Spec::parse(spec)?.write(budget, &value)?,
            };
            budget.allow(out.len() + rest.len() + written.len())?;
            out += &written;
        }
        Ok(out + rest)
    }
}

/// `text.format(…)`.
pub(super) fn format(budget: &Budget, text: &str, args: &Args) -> Result<String, Error> {
    let mut fields = Fields {
        args,
        next: Some(0),
    };
    fields.write(budget, text, false)
}
