//! Signs that Markdown would take for something else than they are meant for.
//!
//! They are changed while the text is parsed, by characters that no text has: Unicode assigns them
//! to nothing.

use std::borrow::Cow;

/// Stands for a single tilde.
const TILDE: char = '\u{fdd0}';
/// Stands between stars and the punctuation they are next to, and is nothing.
const JOINER: char = '\u{fdd1}';

/// The text for the parser.
pub fn hide(text: &str) -> Cow<'_, str> {
    match hide_tildes(text) {
        Cow::Borrowed(text) => join_stars(text),
        Cow::Owned(text) => Cow::Owned(join_stars(&text).into_owned()),
    }
}

/// The text as it was.
pub fn shown(text: &str) -> Cow<'_, str> {
    match text.contains([TILDE, JOINER]) {
        true => Cow::Owned(text.replace(TILDE, "~").replace(JOINER, "")),
        false => Cow::Borrowed(text),
    }
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
