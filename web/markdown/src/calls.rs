//! Where a reply calls functions: behind its text, in the form of Hermes, as the page puts them
//! there.

const BEGIN: &str = "<tool_call>\n";
const END: &str = "\n</tool_call>";

/// A reply's text, and behind it the calls: of each a line of JSON.
pub fn split_calls(reply: &str) -> (&str, Vec<&str>) {
    let (mut text, mut calls) = (reply, Vec::new());
    while let Some(before) = text.strip_suffix(END) {
        let Some(at) = before.rfind(BEGIN) else { break };
        let (said, json) = (&before[..at], &before[at + BEGIN.len()..]);
        let whole = said.is_empty() || said.ends_with('\n');
        if !whole || json.contains('\n') || !json.starts_with("{\"") || !json.ends_with('}') {
            break;
        }
        calls.push(json);
        text = said.strip_suffix('\n').unwrap_or(said);
    }
    calls.reverse();
    (text, calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_stand_behind_the_text() {
        let one = "<tool_call>\n{\"name\":\"a\",\"arguments\":{}}\n</tool_call>";
        let two =
            "<tool_call>\n{\"name\":\"b\",\"arguments\":{\"c\":\"<tool_call>\\n\"}}\n</tool_call>";
        let json = |call: &str| call.lines().nth(1).unwrap_or_default().to_owned();
        let (a, b) = (json(one), json(two));
        assert_eq!(split_calls(one), ("", vec![a.as_str()]));
        let both = format!("Let me see.\n{one}\n{two}");
        assert_eq!(
            split_calls(&both),
            ("Let me see.", vec![a.as_str(), b.as_str()])
        );
        for text in [
            "",
            "Hello.",
            "\n</tool_call>",
            "Write `<tool_call>\n{}\n</tool_call>",
            "<tool_call>\nnothing\n</tool_call>",
            &format!("{one}\nThat was a call."),
        ] {
            assert_eq!(split_calls(text), (text, vec![]));
        }
    }
}
