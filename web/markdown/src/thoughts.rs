//! Where a reply is the model thinking to itself: `<think>…</think>`, in the spellings that models
//! use.

/// A part of a reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Said(&'a str),
    /// What stands between the tags, and whether the second is there yet.
    Thought(&'a str, bool),
}

/// What opens a thought and what closes it, in lower case.
const TAGS: [(&str, &str); 11] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reason>", "</reason>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("[think]", "[/think]"),
    ("◁think▷", "◁/think▷"),
];

/// The parts of `text`, in order.
///
/// A tag opens a thought at the beginning of a line, outside of code: a reply may be about such
/// tags. A closing tag at the end of a line that nothing opened ends a thought that began with the
/// reply: some chat templates write the opening tag themselves.
pub fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    // Where the part under way begins, and the line that is looked at.
    let (mut from, mut at) = (0, 0);
    let mut fence: Option<(char, usize)> = None;
    while at < text.len() {
        let end = text[at..].find('\n').map_or(text.len(), |i| at + i + 1);
        let line = &text[at..end];
        if let Some(run) = fence_run(line) {
            fence = match fence {
                None => Some(run),
                // A closing fence is as long as the opening one and has nothing behind it.
                Some((sign, length))
                    if run.0 == sign
                        && run.1 >= length
                        && line.trim().chars().all(|c| c == sign) =>
                {
                    None
                }
                open => open,
            };
        } else if fence.is_none() {
            if let Some((tag, close)) = opening(line, at == 0) {
                said(&mut parts, &text[from..at]);
                let inner = at + tag;
                let (thought, next) = match find_close(&text[inner..], close) {
                    Some((ends, length)) => {
                        ((&text[inner..inner + ends], true), inner + ends + length)
                    }
                    None => ((&text[inner..], false), text.len()),
                };
                // Models that are told not to think write the tags with nothing between.
                if !(thought.1 && thought.0.trim().is_empty()) {
                    parts.push(Part::Thought(thought.0, thought.1));
                }
                (from, at) = (next, next);
                continue;
            }
            if from == 0
                && parts.is_empty()
                && let Some((ends, length)) = closing(line)
            {
                parts.push(Part::Thought(&text[..at + ends], true));
                (from, at) = (at + ends + length, at + ends + length);
                continue;
            }
        }
        at = end;
    }
    said(&mut parts, &text[from..]);
    parts
}

/// Whether a text begins with a thought.
pub fn begin(text: &str) -> bool {
    opening(text, true).is_some()
}

fn said<'a>(parts: &mut Vec<Part<'a>>, text: &'a str) {
    if !text.trim().is_empty() {
        parts.push(Part::Said(text));
    }
}

/// The sign and the length of a code fence.
fn fence_run(line: &str) -> Option<(char, usize)> {
    let line = line.trim_start();
    let sign = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.chars().take_while(|c| *c == sign).count();
    (length >= 3).then_some((sign, length))
}

/// Bytes of the line up to the end of its opening tag, and the tag that closes it.
fn opening(line: &str, first: bool) -> Option<(usize, &'static str)> {
    let indent = line.len() - line.trim_start().len();
    // More is a block of code.
    if indent > 3 && !first {
        return None;
    }
    TAGS.iter()
        .find(|(open, _)| starts_with(&line[indent..], open))
        .map(|(open, close)| (indent + open.len(), *close))
}

/// Where a closing tag stands at the end of the line, and its length.
fn closing(line: &str) -> Option<(usize, usize)> {
    let end = line.trim_end();
    TAGS.iter().find_map(|(_, close)| {
        let at = end.len().checked_sub(close.len())?;
        let found = end.is_char_boundary(at) && starts_with(&end[at..], close);
        (found && !end[..at].ends_with('`')).then_some((at, close.len()))
    })
}

/// The first such tag that is not quoted as code, and its length.
fn find_close(text: &str, close: &str) -> Option<(usize, usize)> {
    let first = close.chars().next()?;
    text.match_indices(first)
        .map(|(at, _)| at)
        .find(|at| starts_with(&text[*at..], close) && !text[..*at].ends_with('`'))
        .map(|at| (at, close.len()))
}

/// In any case of letters.
fn starts_with(text: &str, tag: &str) -> bool {
    text.get(..tag.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(tag))
}

#[cfg(test)]
mod tests {
    use super::Part::{Said, Thought};
    use super::*;

    #[test]
    fn thoughts_are_told_from_what_is_said() {
        let tagged = "<think>\nThe user greets me.\n</think>\n\n**Hello!**";
        assert_eq!(
            parts(tagged),
            [
                Thought("\nThe user greets me.\n", true),
                Said("\n\n**Hello!**")
            ]
        );
        for (open, close) in TAGS {
            let (open, upper) = (open.to_uppercase(), close.to_uppercase());
            assert_eq!(
                parts(&format!("  {open}a{upper}b")),
                [Thought("a", true), Said("b")]
            );
            assert_eq!(parts(&format!("{open}a")), [Thought("a", false)]);
        }
        // More than one, and something before.
        assert_eq!(
            parts("Well.\n<think>a</think>\nb\n<think>c"),
            [
                Said("Well.\n"),
                Thought("a", true),
                Said("\nb\n"),
                Thought("c", false)
            ]
        );
    }

    #[test]
    fn a_thought_that_the_template_opened_ends_all_the_same() {
        assert_eq!(
            parts("So I greet.\n</think>\n\nHello!"),
            [Thought("So I greet.\n", true), Said("\n\nHello!")]
        );
        assert_eq!(
            parts("So I greet.</think>\nHello!"),
            [Thought("So I greet.", true), Said("\nHello!")]
        );
    }

    #[test]
    fn nothing_thought_is_nothing_shown() {
        assert_eq!(parts("<think>\n\n</think>\n\nYes."), [Said("\n\nYes.")]);
        assert_eq!(parts("<think>\n"), [Thought("\n", false)]);
    }

    #[test]
    fn talk_about_tags_is_no_thought() {
        for text in [
            "The tag <think> opens it and </think> closes it.",
            "`</think>`",
            "```\n<think>\n</think>\n```\n",
            "~~~xml\n```\n<think>\n",
            "    <thinkers>\n",
            "a\n     <think>\n",
        ] {
            assert_eq!(parts(text), [Said(text)], "{text}");
        }
        assert_eq!(
            parts("<think>not `</think>` yet</think>x"),
            [Thought("not `</think>` yet", true), Said("x")]
        );
    }
}
