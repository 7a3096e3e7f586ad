//! How a value is written into a text, with a width, a precision and so on: what `%` and
//! `str.format` have in common. Widths and precisions are bounded like any text.

use minijinja::Error;
use minijinja::value::Value;

use super::args::invalid;
use super::guard::Budget;
use super::values::{self, Number};

/// Most digits behind the point: an `f64` has no more.
const MAX_DIGITS: usize = 1100;

/// How one value is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Spec {
    pub fill: Option<char>,
    /// `<`, `>`, `^`, or `=` for what is filled behind the sign.
    pub align: Option<char>,
    /// `+` or a space, for numbers that are not negative.
    pub sign: Option<char>,
    pub alternate: bool,
    /// Between groups of digits.
    pub group: Option<char>,
    pub width: usize,
    pub precision: Option<usize>,
    /// `d`, `x`, `f` and so on; none says it by the value.
    pub kind: Option<char>,
}

/// A number before it is filled up.
pub(super) struct Digits {
    negative: bool,
    prefix: &'static str,
    pub whole: String,
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

/// C's `%g`: as many digits as asked for, without zeros at the end. `point` keeps one digit behind
/// the point.
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
    pub fn integer(&self, n: i128) -> Digits {
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

    pub fn float(&self, x: f64) -> Result<Digits, Error> {
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
    pub fn number(&self, budget: &Budget, digits: Digits) -> Result<String, Error> {
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
        // What is infinite has no digits to put in groups.
        if let Some(mark) = self.group.filter(|_| !whole.is_empty()) {
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
    pub fn filled(&self, budget: &Budget, text: &str, otherwise: char) -> Result<String, Error> {
        let fill = self.fill.unwrap_or(' ');
        let align = self.align.unwrap_or(otherwise);
        fill_up(budget, text, self.width, fill, align)
    }

    /// What `{:spec}` says.
    pub fn parse(text: &str) -> Result<Self, Error> {
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
        let number = |next: &mut dyn FnMut(&[char]) -> Option<char>| {
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
    pub fn write(&self, budget: &Budget, value: &Value) -> Result<String, Error> {
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

/// `text` with as much `fill` as `width` characters take: behind it (`<`), before it (`>`) or
/// around it (`^`).
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
