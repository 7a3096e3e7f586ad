//! Signs that Markdown would take for something else than they are meant for.
//!
//! They are changed while the text is parsed, by characters that no text has: Unicode assigns them
//! to nothing.

use std::borrow::Cow;

/// Stands for a single tilde.
const TILDE: char = '\u{fdd0}';
/// Stands between stars and the punctuation they are next to, and is nothing.
const JOINER: char = '\u{fdd1}';
/// Behind the dollars that stand for the beginning of a formula in brackets, and before those that
/// stand for its end.
const OPENED: char = '\u{fdd2}';
const CLOSED: char = '\u{fdd3}';
/// How formulas in brackets begin and end, and the dollars for them.
const BRACKETS: [(&str, &str, &str); 2] = [("\\(", "\\)", "$"), ("\\[", "\\]", "$$")];

/// The text for the parser.
pub fn hide(text: &str) -> Cow<'_, str> {
    let steps: [fn(&str) -> Cow<'_, str>; 3] = [dollars, hide_tildes, join_stars];
    let mut hidden = Cow::Borrowed(text);
    for step in steps {
        if let Cow::Owned(changed) = step(&hidden) {
            hidden = Cow::Owned(changed);
        }
    }
    hidden
}

/// The text as it was.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains([TILDE, JOINER, OPENED, CLOSED]) {
        return Cow::Borrowed(text);
    }
    let mut shown = text.replace(TILDE, "~").replace(JOINER, "");
    // The longer ones first: the shorter are in them.
    for (opens, closes, dollars) in BRACKETS.iter().rev() {
        shown = shown.replace(&format!("{dollars}{OPENED}"), opens);
        shown = shown.replace(&format!("{CLOSED}{dollars}"), closes);
    }
    Cow::Owned(shown.replace([OPENED, CLOSED], ""))
}

/// Models write formulas in `\(…\)` and `\[…\]` too, which are plain brackets in Markdown.
fn dollars(text: &str) -> Cow<'_, str> {
    let begins = |text: &str| {
        let found = BRACKETS.iter();
        let found = found.filter_map(|bracket| Some((text.find(bracket.0)?, *bracket)));
        found.min_by_key(|(at, _)| *at)
    };
    if begins(text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, (opens, closes, dollars))) = begins(rest) {
        let (before, inside) = rest.split_at(at);
        let inside = &inside[opens.len()..];
        let whole = &text[..text.len() - inside.len() - opens.len()];
        // No formula goes on behind an empty line, and a backslash that is escaped begins none.
        let formula = inside
            .find(closes)
            .map(|end| &inside[..end])
            .filter(|formula| !formula.trim().is_empty() && !formula.contains("\n\n"))
            .filter(|_| !whole.ends_with('\\') && !is_code(whole));
        out += before;
        match formula {
            Some(formula) => {
                out += &format!("{dollars}{OPENED}{formula}{CLOSED}{dollars}");
                rest = &inside[formula.len() + closes.len()..];
            }
            None => {
                out += opens;
                rest = inside;
            }
        }
    }
    out += rest;
    Cow::Owned(out)
}

/// Whether what follows is code, by all that stands before it.
fn is_code(before: &str) -> bool {
    let is_fence = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("```") || line.starts_with("~~~")
    };
    let fences = before.lines().filter(is_fence).count();
    let line = before.rsplit('\n').next().unwrap_or_default();
    fences % 2 == 1 || line.matches('`').count() % 2 == 1
}

/// A formula as it was; none where dollars that stand for brackets end one of plain dollars.
pub fn formula(latex: &str) -> Option<&str> {
    let bare = latex.trim_start_matches(OPENED).trim_end_matches(CLOSED);
    let both = latex.starts_with(OPENED) == latex.ends_with(CLOSED);
    (both && !bare.contains([OPENED, CLOSED])).then_some(bare)
}

/// Takes single tildes for letters, as in "~5 km": two strike out.
fn hide_tildes(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let is = |at: usize, sign: u8| bytes.get(at) == Some(&sign);
    let single = |at: usize| {
        let before = at.checked_sub(1);
        // One that is escaped is a letter already.
        !before.is_some_and(|before| is(before, b'~') || is(before, b'\\')) && !is(at + 1, b'~')
    };
    if !text.match_indices('~').any(|(at, _)| single(at)) {
        return Cow::Borrowed(text);
    }
    let hidden = text.char_indices().map(|(at, c)| match c {
        '~' if single(at) => TILDE,
        c => c,
    });
    Cow::Owned(hidden.collect())
}

/// Chinese, Japanese and Korean have no spaces: `**“重点”**是` is bold, though Markdown's rules, made
/// for words with spaces between, take the last stars for a beginning.
fn join_stars(text: &str) -> Cow<'_, str> {
    if !text.contains('*') || !text.contains(is_wide) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find('*') {
        let (before, stars) = rest.split_at(at);
        let count = stars.len() - stars.trim_start_matches('*').len();
        let (stars, after) = stars.split_at(count);
        out += before;
        let last = out.chars().next_back();
        let next = after.chars().next();
        let ends = last.is_some_and(is_punctuation) && next.is_some_and(is_wide);
        let begins = last.is_some_and(is_wide) && next.is_some_and(is_punctuation);
        if ends {
            out.push(JOINER);
        }
        out += stars;
        if begins {
            out.push(JOINER);
        }
        rest = after;
    }
    out += rest;
    Cow::Owned(out)
}

/// A letter of a language without spaces.
fn is_wide(c: char) -> bool {
    matches!(
        c,
        '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}'
    )
}

fn is_punctuation(c: char) -> bool {
    (c.is_ascii_punctuation() && !matches!(c, '*' | '\\'))
        || matches!(
            c,
            '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301f}' | '\u{30fb}' | '\u{ff01}'..='\u{ff0f}' | '\u{ff1a}'..='\u{ff20}' | '\u{ff3b}'..='\u{ff40}' | '\u{ff5b}'..='\u{ff65}' | '«' | '»' | '·'
        )
}
