//! Which pieces of a rendered conversation are what somebody wrote. The conversation is rendered
//! once more with a mark in place of every content; where that gives the same text around the
//! marks, the marks' places are the contents'.

use std::ops::Range;

use super::Part;
use crate::chat::Message;

/// A mark is three characters of a private-use plane: these two around one that numbers the
/// message.
const OPEN: char = '\u{100000}';
const CLOSE: char = '\u{100001}';
const FIRST: u32 = 0x10_0010;
const MOST: usize = 60_000;
/// Messages looked at one by one where all at once did not work.
const MOST_SINGLE: usize = 256;

pub(super) fn mark(index: usize) -> String {
    let number = char::from_u32(FIRST + (index % MOST) as u32).unwrap_or(CLOSE);
    [OPEN, number, CLOSE].into_iter().collect()
}

/// The next mark of `text`: its place, its length and the message it stands for.
fn next_mark(text: &str) -> Option<(usize, usize, usize)> {
    let at = text.find(OPEN)?;
    let mut chars = text[at + OPEN.len_utf8()..].chars();
    let number = chars.next()?;
    let index = u32::from(number).checked_sub(FIRST)? as usize;
    (chars.next()? == CLOSE).then_some((
        at,
        OPEN.len_utf8() + number.len_utf8() + CLOSE.len_utf8(),
        index,
    ))
}

/// A content as templates print it.
fn forms(content: &str) -> [&str; 4] {
    [
        content,
        content.trim(),
        content.trim_start(),
        content.trim_end(),
    ]
}

/// The places in `text` of the marks of `marked`, if the rest is the same.
fn aligned(text: &str, marked: &str, messages: &[Message]) -> Option<Vec<Range<usize>>> {
    let mut places = Vec::new();
    let (mut at, mut rest) = (0, marked);
    while let Some((before, len, index)) = next_mark(rest) {
        if !text[at..].starts_with(&rest[..before]) {
            return None;
        }
        at += before;
        rest = &rest[before + len..];
        let next = next_mark(rest).map_or(rest, |(before, ..)| &rest[..before]);
        let last = next.len() == rest.len();
        let content = &messages.get(index)?.content;
        let fits = |form: &&str| {
            text[at..].strip_prefix(*form).is_some_and(|after| {
                if last {
                    after == next
                } else {
                    after.starts_with(next)
                }
            })
        };
        let form = forms(content).into_iter().find(fits)?;
        places.push(at..at + form.len());
        at += form.len();
    }
    (text[at..] == *rest).then_some(places)
}

/// The place in `text` where it differs from `marked` by a piece of one message's content instead
/// of its one mark.
fn piece(text: &str, marked: &str, content: &str) -> Option<Range<usize>> {
    let (before, len, _) = next_mark(marked)?;
    let after = &marked[before + len..];
    if next_mark(after).is_some() || !text.starts_with(&marked[..before]) {
        return None;
    }
    let end = text
        .len()
        .checked_sub(after.len())
        .filter(|end| *end >= before)?;
    if !text.is_char_boundary(end) || text[end..] != *after {
        return None;
    }
    content.contains(&text[before..end]).then_some(before..end)
}

/// Cut `text`, which is what `messages` give. `render` renders other messages in the same way. Also
/// returned is whether the last message of the user's is in it.
pub(super) fn cut(
    text: &str,
    messages: &[Message],
    render: &dyn Fn(&[Message]) -> Option<String>,
) -> (Vec<Part>, bool) {
    let whole = || {
        vec![Part {
            text: text.to_owned(),
            content: false,
        }]
    };
    let last = messages
        .iter()
        .rposition(|m| m.role == "user" && !m.content.trim().is_empty());
    let Some(last) = last else {
        return (whole(), true);
    };
    let found = text.contains(messages[last].content.trim());
    if messages.len() > MOST || messages.iter().any(|m| m.content.contains(OPEN)) {
        return (whole(), found);
    }
    let with_mark = |(i, m): (usize, &Message)| m.saying(mark(i));
    let marked = render(
        &messages
            .iter()
            .enumerate()
            .map(with_mark)
            .collect::<Vec<_>>(),
    );
    let heard = marked
        .as_ref()
        .map_or(found, |marked| marked.contains(&mark(last)) || found);
    let places = marked.and_then(|marked| aligned(text, &marked, messages));
    let mut places = places.unwrap_or_else(|| {
        // The template looks at a content. One mark at a time tells of the others.
        let first = messages.len().saturating_sub(MOST_SINGLE);
        (first..messages.len())
            .flat_map(|i| {
                let mut one = messages.to_vec();
                one[i].content = mark(i);
                let marked = render(&one).unwrap_or_default();
                aligned(text, &marked, messages)
                    .or_else(|| Some(vec![piece(text, &marked, &messages[i].content)?]))
                    .unwrap_or_default()
            })
            .collect()
    });
    places.sort_by_key(|place| place.start);
    let mut parts = Vec::new();
    let mut add = |range: Range<usize>, content: bool| {
        if !range.is_empty() {
            let text = text[range].to_owned();
            parts.push(Part { text, content });
        }
    };
    let mut at = 0;
    for place in places {
        if place.start < at {
            continue;
        }
        add(at..place.start, false);
        add(place.clone(), true);
        at = place.end;
    }
    add(at..text.len(), false);
    (parts, heard)
}
