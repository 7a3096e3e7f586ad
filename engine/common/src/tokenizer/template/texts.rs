//! Filters of texts. Those that can make a text longer ask the [`Budget`] first.

use minijinja::Error;
use minijinja::value::{Value, ValueKind};

use super::args::{Args, invalid};
use super::guard::Budget;
use super::python::{split_lines, white};
use super::spec::fill_up;
use super::values::printed;

/// `join(d='', attribute=none)`.
pub(super) fn join(budget: &Budget, value: &Value, args: &Args) -> Result<String, Error> {
    let between = args.some(0, "d")?.map_or(String::new(), |d| printed(&d));
    let attribute = args.some(1, "attribute")?;
    args.end(2)?;
    let mut out = String::new();
    for (i, element) in value.try_iter()?.enumerate() {
        if i > 0 {
            out += &between;
        }
        let element = match &attribute {
            Some(path) => super::sequences::attribute(&element, path)?,
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

/// `indent(width=4, first=false, blank=false)`.
pub(super) fn indent(budget: &Budget, text: &str, args: &Args) -> Result<String, Error> {
    let width = args.some(0, "width")?.unwrap_or_else(|| 4.into());
    let (first, blank) = (args.flag(1, "first")?, args.flag(2, "blank")?);
    args.end(3)?;
    let with = match width.as_str() {
        Some(text) => text.to_owned(),
        None => fill_up(budget, "", usize::try_from(width.clone())?, ' ', '<')?,
    };
    let lines = text.split('\n').count();
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

/// Python's `str.center`, where a character more goes to the left if the width is odd.
pub(super) fn centered(
    budget: &Budget,
    text: &str,
    width: usize,
    fill: char,
) -> Result<String, Error> {
    let length = text.chars().count();
    let missing = width.saturating_sub(length);
    let before = missing / 2 + (missing & width & 1);
    let text = fill_up(budget, text, length + before, fill, '>')?;
    fill_up(budget, &text, width, fill, '<')
}

/// `center(width=80)`.
pub(super) fn center(budget: &Budget, value: &Value, args: &Args) -> Result<String, Error> {
    let width = args.integer(0, "width")?.unwrap_or(80);
    args.end(1)?;
    let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
    centered(budget, &printed(value), width, ' ')
}

/// `truncate(length=255, killwords=false, end='...', leeway=5)`.
pub(super) fn truncate(budget: &Budget, text: &str, args: &Args) -> Result<String, Error> {
    let length = args.integer(0, "length")?.unwrap_or(255);
    let cut_words = args.flag(1, "killwords")?;
    let end = args.text(2, "end")?.unwrap_or_else(|| "...".into());
    let leeway = args.integer(3, "leeway")?.unwrap_or(5);
    args.end(4)?;
    let wanted = usize::try_from(length).unwrap_or(0);
    let kept = wanted.checked_sub(end.chars().count());
    let (Some(kept), Ok(leeway)) = (kept, usize::try_from(leeway)) else {
        return Err(invalid("`truncate` is asked for less than its `end` takes"));
    };
    if text.chars().count() <= wanted.saturating_add(leeway) {
        return Ok(text.to_owned());
    }
    budget.allow(text.len().saturating_add(end.len()))?;
    let kept: String = text.chars().take(kept).collect();
    let kept = match kept.rsplit_once(' ') {
        Some((before, _)) if !cut_words => before,
        _ => &kept,
    };
    Ok(kept.to_owned() + &end)
}

fn quote(text: &str, query: bool, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                out.push(byte.into());
            }
            b'/' if !query => out.push('/'),
            b' ' if query => out.push('+'),
            byte => *out += &format!("%{byte:02X}"),
        }
    }
}

/// `urlencode`: a text for a path, or pairs for a query.
pub(super) fn url_encode(budget: &Budget, value: &Value) -> Result<String, Error> {
    budget.allow(budget.measure(value)?.saturating_mul(3))?;
    let mut out = String::new();
    let map = value.kind() == ValueKind::Map;
    if !map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        quote(&printed(value), false, &mut out);
        return Ok(out);
    }
    for (i, element) in value.try_iter()?.enumerate() {
        let (key, value) = if map {
            (element.clone(), value.get_item(&element)?)
        } else {
            (element.get_item_by_index(0)?, element.get_item_by_index(1)?)
        };
        if i > 0 {
            out.push('&');
        }
        quote(&printed(&key), true, &mut out);
        out.push('=');
        quote(&printed(&value), true, &mut out);
    }
    Ok(out)
}

/// Runs of letters, digits and underscores.
pub(super) fn word_count(text: &str) -> usize {
    let other = |c: char| !(c.is_alphanumeric() || c == '_');
    text.split(other).filter(|word| !word.is_empty()).count()
}

/// As HTML has it. No character takes more than [`MAX_ESCAPE`] bytes.
fn escaped(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => *out += "&amp;",
            '<' => *out += "&lt;",
            '>' => *out += "&gt;",
            '"' => *out += "&#34;",
            '\'' => *out += "&#39;",
            c => out.push(c),
        }
    }
}

const MAX_ESCAPE: usize = 5;

/// `escape`, which leaves alone what is escaped, and `forceescape`.
pub(super) fn escape(budget: &Budget, value: &Value, args: &Args) -> Result<Value, Error> {
    args.end(0)?;
    if value.is_safe() && args.of() != "forceescape" {
        return Ok(value.clone());
    }
    budget.allow(budget.measure(value)?.saturating_mul(MAX_ESCAPE))?;
    let mut out = String::new();
    escaped(&printed(value), &mut out);
    Ok(Value::from_safe_string(out))
}

/// `xmlattr(autospace=true)`.
pub(super) fn xml_attributes(budget: &Budget, value: &Value, args: &Args) -> Result<String, Error> {
    let space = args.get(0, "autospace")?.is_none_or(|v| v.is_true());
    args.end(1)?;
    budget.allow(budget.measure(value)?.saturating_mul(MAX_ESCAPE))?;
    let mut out = String::new();
    for key in value.try_iter()? {
        let value = value.get_item(&key)?;
        if value.is_none() || value.is_undefined() {
            continue;
        }
        let name = printed(&key);
        if name.contains(|c: char| white(c) || matches!(c, '/' | '>' | '=')) {
            return Err(invalid(format!("`xmlattr`: {name:?} is no name")));
        }
        if space || !out.is_empty() {
            out.push(' ');
        }
        escaped(&name, &mut out);
        out += "=\"";
        escaped(&printed(&value), &mut out);
        out.push('"');
    }
    Ok(out)
}

/// How `wordwrap` cuts.
struct Wrap {
    width: usize,
    long_words: bool,
    hyphens: bool,
}

/// White space as Python's `textwrap` has it.
fn blank(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

impl Wrap {
    /// The words of a line and the white space between them.
    fn chunks<'a>(&self, line: &'a [char]) -> Vec<&'a [char]> {
        let is = |i: Option<usize>, fits: &dyn Fn(char) -> bool| {
            i.and_then(|i| line.get(i)).is_some_and(|c| fits(*c))
        };
        let before = |i: usize, n: usize| i.checked_sub(n);
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let letter = |c: char| word(c) && !c.is_numeric();
        let dash = |c: char| c == '-';
        let punct = |c: char| word(c) || matches!(c, '!' | '"' | '\'' | '&' | '.' | ',' | '?');
        // Two dashes or more between words.
        let long_dash = |i: usize| {
            // First what is quickly seen: a text may be all dashes.
            if !is(before(i, 1), &punct) {
                return None;
            }
            let end = (i..line.len()).find(|j| !dash(line[*j]));
            end.filter(|end| end - i >= 2 && word(line[*end]))
        };
        let ends = |j: usize| {
            let hyphenated = is(before(j, 1), &dash)
                && (is(before(j, 2), &letter) && is(before(j, 3), &letter)
                    || is(before(j, 2), &punct)
                        && is(before(j, 3), &dash)
                        && is(before(j, 4), &letter))
                && is(Some(j), &letter)
                && (is(Some(j + 1), &letter) || is(Some(j + 1), &dash) && is(Some(j + 2), &letter));
            j == line.len()
                || blank(line[j])
                || self.hyphens && (hyphenated || long_dash(j).is_some())
        };
        let (mut out, mut at) = (Vec::new(), 0);
        while at < line.len() {
            let end = if blank(line[at]) {
                (at..line.len()).find(|i| !blank(line[*i]))
            } else if let Some(end) = long_dash(at).filter(|_| self.hyphens) {
                Some(end)
            } else {
                (at + 1..line.len()).find(|j| ends(*j))
            };
            let end = end.unwrap_or(line.len());
            out.push(&line[at..end]);
            at = end;
        }
        out
    }

    fn lines(&self, line: &[char]) -> Vec<String> {
        let empty = |chunk: &[char]| chunk.iter().all(|c| white(*c));
        let mut chunks = self.chunks(line);
        chunks.reverse();
        let mut lines: Vec<String> = Vec::new();
        while let Some(next) = chunks.last() {
            if empty(next) && !lines.is_empty() {
                chunks.pop();
            }
            let (mut current, mut length): (Vec<&[char]>, usize) = (Vec::new(), 0);
            while let Some(next) = chunks.last().filter(|c| length + c.len() <= self.width) {
                length += next.len();
                current.extend(chunks.pop());
            }
            if let Some(next) = chunks.last_mut().filter(|c| c.len() > self.width) {
                if self.long_words {
                    let space = self.width - length;
                    let hyphen = next[..space].iter().rposition(|c| *c == '-');
                    let hyphen =
                        hyphen.filter(|at| self.hyphens && next[..*at].iter().any(|c| *c != '-'));
                    let (head, tail) = next.split_at(hyphen.map_or(space, |at| at + 1));
                    current.push(head);
                    *next = tail;
                } else if current.is_empty() {
                    current.extend(chunks.pop());
                }
            }
            if current.last().is_some_and(|chunk| empty(chunk)) {
                current.pop();
            }
            if !current.is_empty() {
                lines.push(current.concat().iter().collect());
            }
        }
        lines
    }
}

/// `wordwrap(width=79, break_long_words=true, wrapstring='\n', break_on_hyphens=true)`.
pub(super) fn word_wrap(budget: &Budget, text: &str, args: &Args) -> Result<String, Error> {
    let width = args.integer(0, "width")?.unwrap_or(79);
    let yes = |value: Option<Value>| value.is_none_or(|value| value.is_true());
    let long_words = yes(args.get(1, "break_long_words")?);
    let between = args.text(2, "wrapstring")?.unwrap_or_else(|| "\n".into());
    let hyphens = yes(args.get(3, "break_on_hyphens")?);
    args.end(4)?;
    let width = usize::try_from(width).ok().filter(|n| *n > 0);
    let wrap = Wrap {
        width: width.ok_or_else(|| invalid("`wordwrap` takes a width of 1 or more"))?,
        long_words,
        hyphens,
    };
    // Every character may get a line.
    budget.allow(text.len().saturating_mul(1 + between.len()))?;
    let mut lines = Vec::new();
    for line in split_lines(text, false) {
        budget.tick()?;
        let chars: Vec<char> = line.chars().collect();
        lines.push(wrap.lines(&chars).join(&between));
    }
    Ok(lines.join(&between))
}
