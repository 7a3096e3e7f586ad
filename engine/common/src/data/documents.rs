//! Documents as data sets hold them in JSON: `{"text": …}`; conversations as `messages` (role,
//! content), `conversations` (from, value), `prompt` and `completion`, Alpaca's `instruction`,
//! `input` and `output`, or `question` and `answer`; or a bare string.

use serde::{Deserialize, Deserializer};

use super::turns::{Content, Roles, Turn, messages_of, tools_of};
use crate::chat::{Message, Tool, with_spoken_calls};

/// A text to learn from, or a conversation that a chat template makes one of.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// A text to continue.
    Text(String),
    /// A conversation, which a chat template turns into a text.
    Chat(Conversation),
    /// Two answers to the same question.
    Pair(Pair),
}

/// What was said, and the functions that the assistant might have called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// In their order.
    pub messages: Vec<Message>,
    /// Most have none.
    pub tools: Vec<Tool>,
}

impl From<Vec<Message>> for Conversation {
    fn from(messages: Vec<Message>) -> Self {
        Conversation {
            messages,
            tools: Vec::new(),
        }
    }
}

/// Two answers of which one is preferred.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Functions that the assistant may call in them.
    pub tools: Vec<Tool>,
    /// What both answer.
    pub prompt: Vec<Message>,
    /// The preferred answer.
    pub chosen: Vec<Message>,
    /// The other one.
    pub rejected: Vec<Message>,
}

impl Pair {
    /// The two conversations, the chosen one first.
    pub fn conversations(&self) -> [Vec<Message>; 2] {
        [&self.chosen, &self.rejected].map(|answer| [&self.prompt[..], answer].concat())
    }
}

impl Document {
    /// Its words, without any marks of turns.
    pub fn plain(&self) -> String {
        match self {
            Document::Text(text) => text.clone(),
            Document::Chat(talk) => spoken(&talk.messages),
            Document::Pair(pair) => pair.conversations().map(|c| spoken(&c)).join("\n"),
        }
    }
}

/// The messages' contents, with the calls of tools in them.
fn spoken(messages: &[Message]) -> String {
    let messages = with_spoken_calls(messages);
    let contents: Vec<&str> = messages.iter().map(|m| m.content.as_str()).collect();
    contents.join("\n")
}

/// How a document was written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// A text file, or a piece of one.
    #[default]
    Plain,
    /// A `text`, or a string alone.
    Text,
    /// `messages`, as OpenAI has them.
    Messages,
    /// `conversations`, as ShareGPT has them.
    ShareGpt,
    /// `instruction`, `input` and `output`, as Alpaca has them.
    Alpaca,
    /// `prompt` and `completion`, texts or messages.
    Prompt,
    /// `question` and `answer`.
    Question,
    /// `prompt`, `chosen` and `rejected`, texts or messages, as TRL has them; or `input`,
    /// `preferred_output` and `non_preferred_output`, as OpenAI does.
    Preference,
}

impl Layout {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Plain => "plain text",
            Layout::Text => "texts (text)",
            Layout::Messages => "conversations (messages)",
            Layout::ShareGpt => "conversations as in ShareGPT (conversations)",
            Layout::Alpaca => "instructions as in Alpaca (instruction, input, output)",
            Layout::Prompt => "prompts (prompt, completion)",
            Layout::Question => "questions (question, answer)",
            Layout::Preference => "preference pairs (prompt, chosen, rejected)",
        }
    }
}

/// The fields that a document is made of.
#[cfg(feature = "native")]
pub(super) const FIELDS: [&str; 18] = [
    "text",
    "messages",
    "conversations",
    "system",
    "prompt",
    "completion",
    "response",
    "instruction",
    "input",
    "output",
    "question",
    "answer",
    "chosen",
    "rejected",
    "preferred_output",
    "non_preferred_output",
    "tools",
    "functions",
];

/// What a JSON value holds.
#[derive(Debug)]
pub(super) struct Found {
    /// None where its text is null.
    pub document: Option<Document>,
    pub layout: Layout,
    /// Escaped surrogates without their other half, which became U+FFFD.
    pub half_surrogates: u64,
    /// Replies without anything in them, which are not learnt.
    pub silent: u64,
    /// Whether anything in its list of tools is no function.
    pub odd_tools: bool,
}

/// Whether a character stands between the values of an array or at the end of a line.
pub(super) fn between(c: char) -> bool {
    // A mark in the middle is where two files were joined.
    matches!(c, '[' | ']' | ',' | '\u{feff}') || c.is_whitespace()
}

/// A field that is there, whatever its value: unlike null, absence is a mistake.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    #[serde(deserialize_with = "there")]
    text: Option<Option<String>>,
    #[serde(deserialize_with = "there")]
    messages: Option<Option<Vec<Turn>>>,
    #[serde(deserialize_with = "there")]
    conversations: Option<Option<Vec<Turn>>>,
    system: Option<Content>,
    prompt: Option<Said>,
    #[serde(alias = "response")]
    completion: Option<Said>,
    instruction: Option<Content>,
    input: Option<Input>,
    output: Option<Content>,
    question: Option<Content>,
    answer: Option<Content>,
    #[serde(alias = "preferred_output")]
    chosen: serde_json::Value,
    #[serde(alias = "non_preferred_output")]
    rejected: serde_json::Value,
    tools: serde_json::Value,
    /// As OpenAI called them before.
    functions: serde_json::Value,
}

impl Fields {
    /// The functions that the assistant may call.
    fn tools(&mut self, counts: &mut Counts) -> Vec<Tool> {
        let [mut tools, functions] = [&mut self.tools, &mut self.functions].map(|list| {
            let (tools, odd) = tools_of(&list.take());
            counts.odd_tools |= odd;
            tools
        });
        tools.extend(functions);
        tools
    }
}

/// What Alpaca puts beside an instruction, or what OpenAI has two answers to.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "an input must be a text, or an object with messages"
)]
enum Input {
    Messages {
        messages: Vec<Turn>,
        #[serde(default)]
        tools: serde_json::Value,
    },
    Content(Content),
}

/// One side of a prompt and its completion.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a prompt or a completion must be a text, or a list of messages"
)]
enum Said {
    Turns(Vec<Turn>),
    Content(Content),
}

impl Said {
    fn into_turns(self, role: &str) -> Vec<Turn> {
        match self {
            Said::Turns(turns) => turns,
            Said::Content(content) => vec![Turn::new(role, content)],
        }
    }
}

/// What is counted in a document.
#[derive(Default)]
struct Counts {
    silent: u64,
    odd_tools: bool,
}

/// The document of one JSON value.
///
/// # Errors
/// What is wrong with it, for a message that says where it is.
pub(super) fn parse(value: &str) -> Result<Found, String> {
    parse_with(value, Roles::Known)
}

fn parse_with(value: &str, roles: Roles) -> Result<Found, String> {
    let (mut half_surrogates, mut counts) = (0, Counts::default());
    let found = read_fields(value, roles, &mut counts).or_else(|first| match repaired(value) {
        Some((text, halves)) => {
            half_surrogates = halves;
            read_fields(&text, roles, &mut counts)
        }
        None => Err(first),
    });
    let (document, layout) = found.map_err(|e| {
        // Lines are counted in the file, not in the value.
        let mut what = e.to_string();
        if let Some(at) = what.rfind(" at line ") {
            what.truncate(at);
        }
        match e.classify() {
            serde_json::error::Category::Eof => "the JSON ends in the middle of a value".to_owned(),
            _ => format!("{what} (column {})", e.column()),
        }
    })??;
    Ok(Found {
        document,
        layout,
        half_surrogates,
        silent: counts.silent,
        odd_tools: counts.odd_tools,
    })
}

/// The messages of a conversation in JSON: a list of them, or an object with one under `messages`.
/// Roles may be any that a template knows.
///
/// # Errors
/// What is wrong with it, or that it is no conversation.
///
/// ```
/// let messages = ternary_common::data::messages(r#"[{"role": "user", "content": "Hi"}]"#)?;
/// assert_eq!(messages[0].content, "Hi");
/// assert!(ternary_common::data::messages(r#"{"text": "Hi"}"#).is_err());
/// # Ok::<(), String>(())
/// ```
pub fn messages(json: &str) -> Result<Vec<Message>, String> {
    let json = json.trim();
    let wrapped;
    let object = if json.starts_with('[') {
        wrapped = format!("{{\"messages\": {json}}}");
        &wrapped
    } else {
        json
    };
    match parse_with(object, Roles::Any)?.document {
        Some(Document::Chat(talk)) => Ok(talk.messages),
        _ => Err("it is no conversation; expected a list of messages with role and content, or an object with such a list under \"messages\"".into()),
    }
}

const EXPECTED: &str = "expected an object with a \"text\" field, or with a conversation: \"messages\" (role and content), \"conversations\" \
     (from and value), \"prompt\" and \"completion\", \"instruction\" and \"output\", or \"question\" and \"answer\"; for --preference, with \
     \"prompt\", \"chosen\" and \"rejected\"";

/// What to say where pairs are read that are not to be compared.
pub const PAIRS: &str = "a pair of a chosen and a rejected answer teaches which is preferred, by `onebit finetune --preference dpo`; to learn \
     the answers themselves, keep the chosen one as \"completion\"";

/// The pair that an object's fields make, if it has the two answers.
///
/// # Errors
/// What is missing, empty or the same.
fn pair(fields: &mut Fields, counts: &mut Counts) -> Result<Option<Pair>, String> {
    let answers = [&mut fields.chosen, &mut fields.rejected].map(std::mem::take);
    let document = [
        fields.text.is_some(),
        fields.messages.is_some(),
        fields.conversations.is_some(),
        fields.completion.is_some(),
        fields.output.is_some(),
        fields.answer.is_some(),
    ];
    // Beside a document, fields of these names may be something else, such as scores.
    let said = answers.iter().all(|a| a.is_string() || a.is_array());
    if answers.iter().all(serde_json::Value::is_null) || (!said && document.contains(&true)) {
        return Ok(None);
    }
    let expected = "expected \"prompt\", \"chosen\" and \"rejected\", each a text or a list of messages (or \"input\" with messages, \
         \"preferred_output\" and \"non_preferred_output\")";
    // An answer without anything in it is refused below.
    let messages = |turns| messages_of(turns, Roles::Known, &mut 0);
    let read = |name: &str, answer: serde_json::Value| {
        if answer.is_null() {
            return Err(format!("a pair without \"{name}\"; {expected}"));
        }
        let said: Said =
            serde_json::from_value(answer).map_err(|e| format!("\"{name}\": {e}; {expected}"))?;
        messages(said.into_turns("assistant")).map_err(|e| format!("\"{name}\": {e}"))
    };
    let [chosen, rejected] = answers;
    let (mut chosen, mut rejected) = (read("chosen", chosen)?, read("rejected", rejected)?);
    let opens = |side: &[Message]| side.first().is_some_and(|m| m.role != "assistant");
    let prompt = if opens(&chosen) && opens(&rejected) {
        // Whole conversations: what they have in common is the prompt, whatever stands beside them.
        let both = chosen.iter().zip(&rejected);
        let common = both.take_while(|(a, b)| a == b).count();
        rejected.drain(..common);
        chosen.drain(..common).collect()
    } else {
        let question = fields.question.take().map(Said::Content);
        let turns = match (fields.prompt.take().or(question), fields.input.take()) {
            (Some(prompt), _) => prompt.into_turns("user"),
            (
                None,
                Some(Input::Messages {
                    messages: asked,
                    tools,
                }),
            ) => {
                fields.tools = tools;
                asked
            }
            (None, _) => return Err(format!("a pair without \"prompt\"; {expected}")),
        };
        messages(turns)?
    };
    if chosen == rejected {
        return Err(
            "\"chosen\" and \"rejected\" are the same; expected two different answers".into(),
        );
    }
    for (name, side) in [("chosen", &chosen), ("rejected", &rejected)] {
        if !side
            .iter()
            .any(|m| m.role == "assistant" && !(m.content.trim().is_empty() && m.more.is_empty()))
        {
            return Err(format!(
                "\"{name}\" is empty; expected an answer of the assistant's"
            ));
        }
    }
    if prompt.is_empty() {
        return Err(format!("a pair with an empty \"prompt\"; {expected}"));
    }
    Ok(Some(Pair {
        tools: fields.tools(counts),
        prompt,
        chosen,
        rejected,
    }))
}

/// Put the system's message before all others, unless there is one.
fn begin_with(messages: &mut Vec<Message>, system: Option<Content>) {
    let text = system.map_or(String::new(), Content::into_text);
    let open = messages.first().is_some_and(|first| first.role != "system");
    if open && !text.is_empty() {
        messages.insert(0, Message::new("system", text));
    }
}

type Read = Result<(Option<Document>, Layout), String>;

fn read_fields(value: &str, roles: Roles, counts: &mut Counts) -> serde_json::Result<Read> {
    match value.as_bytes().first() {
        Some(b'"') => {
            let text = serde_json::from_str(value)?;
            return Ok(Ok((Some(Document::Text(text)), Layout::Text)));
        }
        Some(b'n') if value == "null" => return Ok(Ok((None, Layout::Text))),
        _ => {}
    }
    if !value.starts_with('{') {
        // What is no JSON at all is told of as such.
        serde_json::from_str::<serde::de::IgnoredAny>(value)?;
        return Ok(Err(EXPECTED.to_owned()));
    }
    let mut fields: Fields = match serde_json::from_str(value) {
        Ok(fields) => fields,
        // Of a key that is there twice the last one counts, as in Python.
        Err(e) if e.to_string().starts_with("duplicate field") => {
            serde_json::from_value(serde_json::from_str(value)?)?
        }
        Err(e) => return Err(e),
    };
    let compared = match pair(&mut fields, counts) {
        Ok(compared) => compared,
        Err(what) => return Ok(Err(what)),
    };
    if let Some(mut compared) = compared {
        begin_with(&mut compared.prompt, fields.system.take());
        return Ok(Ok((Some(Document::Pair(compared)), Layout::Preference)));
    }
    let tools = fields.tools(counts);
    let system = fields.system.take();
    let chat = |turns: Vec<Turn>, layout: Layout| -> Read {
        let mut messages = messages_of(turns, roles, &mut counts.silent)?;
        begin_with(&mut messages, system);
        let talk = Conversation { messages, tools };
        let document = (!talk.messages.is_empty()).then_some(Document::Chat(talk));
        Ok((document, layout))
    };
    let answered = |asked: Content, answer: Content| {
        vec![Turn::new("user", asked), Turn::new("assistant", answer)]
    };
    // A data set may have the same in several ways: a text beside them is what some template made.
    Ok(match fields {
        Fields {
            messages: Some(Some(turns)),
            ..
        } => chat(turns, Layout::Messages),
        Fields {
            conversations: Some(Some(turns)),
            ..
        } => chat(turns, Layout::ShareGpt),
        Fields {
            instruction: Some(asked),
            input,
            output: Some(answer),
            ..
        } => {
            let mut asked = asked.into_text();
            let input = match input {
                Some(Input::Content(input)) => input.into_text(),
                _ => String::new(),
            };
            if !input.trim().is_empty() {
                asked += "\n\n";
                asked += &input;
            }
            chat(answered(Content::Text(asked), answer), Layout::Alpaca)
        }
        Fields {
            text: Some(text), ..
        } => Ok((text.map(Document::Text), Layout::Text)),
        Fields {
            messages: Some(None),
            ..
        } => Ok((None, Layout::Messages)),
        Fields {
            conversations: Some(None),
            ..
        } => Ok((None, Layout::ShareGpt)),
        Fields {
            prompt: Some(prompt),
            completion: Some(reply),
            ..
        } => {
            let mut turns = prompt.into_turns("user");
            turns.extend(reply.into_turns("assistant"));
            chat(turns, Layout::Prompt)
        }
        Fields {
            question: Some(asked),
            answer: Some(answer),
            ..
        } => chat(answered(asked, answer), Layout::Question),
        _ => Err(EXPECTED.to_owned()),
    })
}

/// JSON of what Python writes and JSON does not know: NaN and infinities become null, half a
/// surrogate pair U+FFFD (counted), control characters inside strings their escapes. None where
/// there is nothing of the kind.
fn repaired(value: &str) -> Option<(String, u64)> {
    let mut out = String::with_capacity(value.len());
    let (mut halves, mut changed) = (0, false);
    let mut rest = value;
    let mut text = false;
    while let Some(c) = rest.chars().next() {
        if !text {
            let word = ["NaN", "Infinity", "-Infinity"]
                .into_iter()
                .find(|w| rest.starts_with(w));
            if let Some(word) = word {
                out += "null";
                (rest, changed) = (&rest[word.len()..], true);
                continue;
            }
            text = c == '"';
        } else if c == '\\' {
            let code = |at: usize| {
                let digits = rest.get(at..at + 6)?.strip_prefix("\\u")?;
                u16::from_str_radix(digits, 16).ok()
            };
            let len = match (code(0), code(6)) {
                (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
                (Some(0xd800..0xe000), _) => {
                    out += "\\ufffd";
                    (rest, changed) = (&rest[6..], true);
                    halves += 1;
                    continue;
                }
                // The backslash and what it escapes.
                _ => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            };
            out += &rest[..len];
            rest = &rest[len..];
            continue;
        } else if c < ' ' {
            out += &format!("\\u{:04x}", u32::from(c));
            (rest, changed) = (&rest[c.len_utf8()..], true);
            continue;
        } else {
            text = c != '"';
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    changed.then_some((out, halves))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(value: &str) -> Document {
        parse(value).unwrap().document.unwrap()
    }

    #[test]
    fn conversations_are_read_in_their_usual_spellings() {
        let messages = vec![
            Message::new("user", "Hi"),
            Message::new("assistant", "Hello"),
        ];
        let chat = Document::Chat(messages.into());
        for value in [
            r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}"#,
            r#"{"id": 1, "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}"#,
            r#"{"prompt": "Hi", "completion": "Hello"}"#,
            r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": "Hello", "tool_calls": null}], "x": NaN}"#,
        ] {
            assert_eq!(found(value), chat, "{value}");
        }
        for (value, layout) in [
            (
                r#"{"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Hello"}]}"#,
                Layout::Prompt,
            ),
            (
                r#"{"instruction": "Hi", "input": "", "output": "Hello"}"#,
                Layout::Alpaca,
            ),
            (
                r#"{"instruction": "Hi", "output": "Hello", "text": "Q: Hi", "x": 1}"#,
                Layout::Alpaca,
            ),
            (
                r#"{"question": "Hi", "answer": "Hello", "system": null}"#,
                Layout::Question,
            ),
            (
                r#"{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "system": ""}"#,
                Layout::ShareGpt,
            ),
        ] {
            let found = parse(value).unwrap();
            assert_eq!(found.layout, layout, "{value}");
            assert_eq!(found.document.as_ref(), Some(&chat), "{value}");
        }
        // An input follows its instruction; a system prompt comes first, once.
        let Document::Chat(Conversation { messages, .. }) = found(
            r#"{"instruction": "Sort.", "input": "b a", "output": "a b", "system": "Be brief."}"#,
        ) else {
            panic!("a conversation");
        };
        let said: Vec<(&str, &str)> = messages
            .iter()
            .map(|m| (m.role.as_str(), m.content.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                ("system", "Be brief."),
                ("user", "Sort.\n\nb a"),
                ("assistant", "a b")
            ]
        );
        assert_eq!(found("\"bare\""), Document::Text("bare".into()));
        for nothing in [r#"{"text": null}"#, "null", r#"{"messages": []}"#] {
            assert!(parse(nothing).unwrap().document.is_none());
        }
        for wrong in [
            r#"{"txt": 1}"#,
            r#"{"text": 1}"#,
            "7",
            "{",
            r#"{"text": "a"} x"#,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pairs_are_read_as_trl_and_openai_write_them() {
        let pair = Document::Pair(Pair {
            tools: Vec::new(),
            prompt: vec![Message::new("user", "Hi")],
            chosen: vec![Message::new("assistant", "Hello")],
            rejected: vec![Message::new("assistant", "Go")],
        });
        let asked = r#"[{"role": "user", "content": "Hi"}]"#;
        let [good, bad] = ["Hello", "Go"]
            .map(|said| format!(r#"[{{"role": "assistant", "content": "{said}"}}]"#));
        let whole = |answer: &str| format!("{}, {}", asked.trim_end_matches(']'), &answer[1..]);
        for value in [
            r#"{"prompt": "Hi", "chosen": "Hello", "rejected": "Go"}"#.to_owned(),
            r#"{"question": "Hi", "chosen": "Hello", "rejected": "Go"}"#.to_owned(),
            format!(r#"{{"prompt": {asked}, "chosen": {good}, "rejected": {bad}}}"#),
            format!(
                r#"{{"prompt": "Hi", "chosen": {}, "rejected": {}, "messages": {asked}}}"#,
                whole(&good),
                whole(&bad)
            ),
            format!(
                r#"{{"chosen": {}, "rejected": {}}}"#,
                whole(&good),
                whole(&bad)
            ),
            format!(
                r#"{{"input": {{"messages": {asked}, "tools": []}}, "preferred_output": {good}, "non_preferred_output": {bad}}}"#
            ),
        ] {
            let found = parse(&value).unwrap_or_else(|e| panic!("{value}: {e}"));
            assert_eq!(found.layout, Layout::Preference, "{value}");
            assert_eq!(found.document.as_ref(), Some(&pair), "{value}");
        }
        let Document::Pair(led) = found(
            r#"{"system": "Be brief.", "prompt": "Hi", "chosen": "Hello", "rejected": "Go"}"#,
        ) else {
            panic!("a pair");
        };
        assert_eq!(led.prompt[0], Message::new("system", "Be brief."));
        for (value, word) in [
            (
                r#"{"prompt": "Hi", "chosen": "Hello"}"#,
                "without \"rejected\"",
            ),
            (
                r#"{"prompt": "Hi", "rejected": "Hello"}"#,
                "without \"chosen\"",
            ),
            (
                r#"{"chosen": "Hello", "rejected": "Go"}"#,
                "without \"prompt\"",
            ),
            (
                r#"{"prompt": "Hi", "chosen": "Hello", "rejected": "Hello"}"#,
                "the same",
            ),
            (
                r#"{"prompt": "Hi", "chosen": " ", "rejected": "Go"}"#,
                "\"chosen\" is empty",
            ),
            (
                r#"{"prompt": "Hi", "chosen": "Hello", "rejected": []}"#,
                "\"rejected\" is empty",
            ),
            (
                r#"{"prompt": "Hi", "chosen": 1, "rejected": "Go"}"#,
                "\"chosen\": ",
            ),
        ] {
            let e = parse(value).unwrap_err();
            assert!(e.contains(word) && e.contains("expected"), "{value}: {e}");
        }
        for more in [r#""chosen": true"#, r#""chosen": 0.5, "rejected": 0.1"#] {
            let other = format!(r#"{{"messages": {asked}, {more}}}"#);
            assert!(matches!(found(&other), Document::Chat(_)));
        }
    }

    #[test]
    fn what_python_writes_is_repaired_and_nothing_else_is_touched() {
        for (value, text, halves) in [
            (r#"{"text": "a \ud83d b"}"#, "a \u{fffd} b", 1),
            (r#"{"text": "\ude00\ud83d"}"#, "\u{fffd}\u{fffd}", 2),
            (r#"{"text": "\ud83d\ude00 NaN", "n": NaN}"#, "😀 NaN", 0),
            (r#"{"text": "\\ud83d", "n": -Infinity}"#, "\\ud83d", 0),
            ("{\"text\": \"tab\there\"}", "tab\there", 0),
        ] {
            let found = parse(value).unwrap();
            assert_eq!(found.document.unwrap().plain(), text);
            assert_eq!(found.half_surrogates, halves);
        }
    }
}
