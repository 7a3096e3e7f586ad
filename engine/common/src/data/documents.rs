//! Documents as data sets hold them in JSON: `{"text": …}`; conversations as `messages` (role,
//! content), `conversations` (from, value), `prompt` and `completion`, Alpaca's `instruction`,
//! `input` and `output`, or `question` and `answer`; or a bare string.

mod rows;

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::turns::{Content, Heard, Roles, Turn, messages_of, tools_of};
use crate::chat::{Message, Tool, with_spoken_calls};
use ternary_core::kind::escaped;

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
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Conversation {
    /// In their order.
    pub messages: Vec<Message>,
    /// Most have none.
    pub tools: Vec<Tool>,
}

/// Before there were tools in what is kept, it was the messages alone. Written by hand, because
/// what is derived of two forms is much code in a page.
impl<'de> Deserialize<'de> for Conversation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kept;
        impl<'de> Visitor<'de> for Kept {
            type Value = Conversation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of messages, or messages and tools")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut talk = Conversation::default();
                while let Some(message) = list.next_element()? {
                    talk.messages.push(message);
                }
                Ok(talk)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut talk = Conversation::default();
                while let Some(field) = fields.next_key::<String>()? {
                    match field.as_str() {
                        "messages" => talk.messages = fields.next_value()?,
                        "tools" => talk.tools = fields.next_value()?,
                        _ => drop(fields.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(talk)
            }
        }
        deserializer.deserialize_any(Kept)
    }
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
    /// An answer that is labelled as good or bad, as for KTO.
    Labelled,
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
            Layout::Labelled => "labelled answers (prompt, completion, label)",
        }
    }
}

/// The fields that a document is made of; the first [`SAID`] hold what is said in it.
pub(super) const FIELDS: [&str; 18] = [
    "text",
    "messages",
    "conversations",
    "prompt",
    "completion",
    "response",
    "instruction",
    "output",
    "question",
    "answer",
    "system",
    "input",
    "chosen",
    "rejected",
    "preferred_output",
    "non_preferred_output",
    "tools",
    "functions",
];

const SAID: usize = 10;
/// The last ones, from here on, hold functions.
const TOOLS: usize = 16;

/// Fields that go with them.
#[cfg(feature = "parquet")]
pub(super) const MORE_FIELDS: [&str; 5] =
    ["context", "answers", "label", "kto_tag", "system_prompt"];

/// What a JSON value holds.
#[derive(Debug)]
pub(super) struct Found {
    /// None where its text is null.
    pub document: Option<Document>,
    pub layout: Layout,
    /// Escaped surrogates without their other half, which became U+FFFD.
    pub half_surrogates: u64,
    /// What was left out of its messages.
    pub heard: Heard,
    /// Whether anything in its list of tools is no function.
    pub odd_tools: bool,
    /// Whether it is a pair of two answers that are the same, which teaches nothing.
    pub alike: bool,
    /// Whether it is an answer that is labelled as a bad one.
    pub bad: bool,
}

/// Whether a character stands between the values of an array or at the end of a line.
pub(super) fn between(c: char) -> bool {
    // A mark in the middle is where two files were joined.
    matches!(c, '[' | ']' | ',' | '\u{feff}') || c.is_whitespace()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    text: Option<String>,
    messages: Option<Vec<Turn>>,
    conversations: Option<Vec<Turn>>,
    #[serde(alias = "system_prompt")]
    system: Option<Content>,
    prompt: Option<Said>,
    #[serde(alias = "response")]
    completion: Option<Said>,
    instruction: Option<Content>,
    input: Option<Input>,
    output: Option<Content>,
    question: Option<Content>,
    #[serde(skip)]
    replied: Option<Content>,
    answer: serde_json::Value,
    answers: serde_json::Value,
    context: serde_json::Value,
    /// Whether the answer is a good one, as for KTO, and what LLaMA-Factory calls it.
    label: serde_json::Value,
    kto_tag: serde_json::Value,
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
    heard: Heard,
    odd_tools: bool,
    alike: bool,
    bad: bool,
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
        let what = json_problem(&e);
        match e.is_data().then(|| culprit(value)).flatten() {
            Some(field) => format!("\"{field}\": {what}"),
            None => what,
        }
    })??;
    Ok(Found {
        document,
        layout,
        half_surrogates,
        heard: counts.heard,
        odd_tools: counts.odd_tools,
        alike: counts.alike,
        bad: counts.bad,
    })
}

/// What is wrong with the JSON of one line, for a message that says which: lines are counted in the
/// file, not in the value.
pub(super) fn json_problem(e: &serde_json::Error) -> String {
    let mut what = e.to_string();
    if let Some(at) = what.rfind(" at line ") {
        what.truncate(at);
    }
    match e.is_eof() {
        true => "the JSON ends in the middle of a value".to_owned(),
        false => format!("{} (column {})", shortened(&what), e.column()),
    }
}

/// Of a text in a file as much as a message has room for, as a terminal can show it.
fn shortened(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => escaped(&text[..at]) + " …",
        None => escaped(text),
    }
}

/// The field of an object that does not hold what a document has there.
fn culprit(value: &str) -> Option<String> {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(value).ok()?;
    let alone = |name: &str, value: serde_json::Value| {
        let one = serde_json::Map::from_iter([(name.to_owned(), value)]);
        serde_json::from_value::<Fields>(one.into()).is_err()
    };
    let mut fields = fields.into_iter();
    fields.find_map(|(name, value)| alone(&name, value).then_some(name))
}

/// What is wrong with a line that holds a list, if `line` is one.
pub(super) fn list(line: &str) -> Option<String> {
    let line = line.trim_matches(|c: char| c == '\u{feff}' || c.is_whitespace());
    let list = line.starts_with('[') && serde_json::from_str::<IgnoredAny>(line).is_ok();
    list.then(|| format!("a list; {EXPECTED}"))
}

/// A conversation in JSON: a list of messages, or an object with one under `messages`, and
/// functions under `tools`. Roles may be any that a template knows.
///
/// # Errors
/// What is wrong with it, or that it is no conversation.
///
/// ```
/// let talk = ternary_common::data::conversation(r#"[{"role": "user", "content": "Hi"}]"#)?;
/// assert_eq!(talk.messages[0].content, "Hi");
/// assert!(ternary_common::data::conversation(r#"{"text": "Hi"}"#).is_err());
/// # Ok::<(), String>(())
/// ```
pub fn conversation(json: &str) -> Result<Conversation, String> {
    let json = json.trim();
    let wrapped;
    let object = if json.starts_with('[') {
        wrapped = format!("{{\"messages\": {json}}}");
        &wrapped
    } else {
        json
    };
    let found = parse_with(object, Roles::Any)?;
    if found.odd_tools {
        return Err("its tools are not all functions; expected a list of {\"type\": \"function\", \"function\": {\"name\": …, \"parameters\": {…}}}".into());
    }
    match found.document {
        Some(Document::Chat(talk)) => Ok(talk),
        _ => Err("it is no conversation; expected a list of messages with role and content, or an object with such a list under \"messages\"".into()),
    }
}

const EXPECTED: &str = "expected an object with a \"text\" field, or with a conversation: \"messages\" (role and content), \"conversations\" \
     (from and value), \"prompt\" and \"completion\", \"instruction\" and \"output\", or \"question\" and \"answer\"; for --preference, with \
     \"prompt\", \"chosen\" and \"rejected\"";

/// What to say where pairs are read that are not to be compared.
pub const PAIRS: &str = "a pair of a chosen and a rejected answer teaches which is preferred, by `onebit finetune --preference dpo`; to learn \
     the answers themselves, keep the chosen one as \"completion\"";

/// What the two answers of an object make.
enum Compared {
    /// There are none.
    Nothing,
    /// They are the same.
    Alike,
    Pair(Pair),
}

/// The pair that an object's fields make, if it has the two answers.
///
/// # Errors
/// What is missing or empty.
fn pair(fields: &mut Fields, counts: &mut Counts) -> Result<Compared, String> {
    let answers = [&mut fields.chosen, &mut fields.rejected].map(std::mem::take);
    let answers = answers.map(rows::answer);
    let document = [
        fields.text.is_some(),
        fields.messages.is_some(),
        fields.conversations.is_some(),
        fields.completion.is_some(),
        fields.output.is_some(),
        fields.replied.is_some(),
    ];
    // Beside a document, fields of these names may be something else, such as scores.
    let said = answers.iter().all(|a| a.is_string() || a.is_array());
    if answers.iter().all(serde_json::Value::is_null) || (!said && document.contains(&true)) {
        return Ok(Compared::Nothing);
    }
    let expected = "expected \"prompt\", \"chosen\" and \"rejected\", each a text or a list of messages (or \"input\" with messages, \
         \"preferred_output\" and \"non_preferred_output\")";
    // An answer without anything in it is refused below.
    let mut heard = Heard::default();
    let mut messages = |turns| messages_of(turns, Roles::Known, &mut heard);
    let mut read = |name: &str, answer: serde_json::Value| {
        if answer.is_null() {
            return Err(format!("a pair without \"{name}\"; {expected}"));
        }
        let said: Said =
            serde_json::from_value(answer).map_err(|e| format!("\"{name}\": {e}; {expected}"))?;
        messages(said.into_turns("assistant")).map_err(|e| format!("\"{name}\": {e}"))
    };
    let [chosen, rejected] = answers;
    let (mut chosen, mut rejected) = (read("chosen", chosen)?, read("rejected", rejected)?);
    if chosen == rejected {
        return Ok(Compared::Alike);
    }
    let opens = |side: &[Message]| side.first().is_some_and(|m| m.role != "assistant");
    let prompt = if opens(&chosen) && opens(&rejected) {
        // Whole conversations: what they have in common is the prompt, whatever stands beside them.
        let both = chosen.iter().zip(&rejected);
        let common = both.take_while(|(a, b)| a == b).count();
        rejected.drain(..common);
        let common: Vec<Message> = chosen.drain(..common).collect();
        // Unless they go on from it.
        match (common.first(), rows::said_before(fields)) {
            (Some(first), Some(turns)) => {
                let mut before = messages(turns)?;
                match before.contains(first) {
                    true => common,
                    false => {
                        before.extend(common);
                        before
                    }
                }
            }
            _ => common,
        }
    } else {
        let question = fields.question.take().map(Said::Content);
        let (question, beside) = match fields.prompt.is_none() && question.is_none() {
            true => {
                let beside = fields.instruction.is_none();
                (rows::prompt(fields, &mut counts.heard), beside)
            }
            false => (question, false),
        };
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
        let prompt = messages(turns)?;
        match beside {
            true => rows::before(prompt, [&chosen, &rejected])?,
            false => prompt,
        }
    };
    counts.heard.other_parts += heard.other_parts;
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
    Ok(Compared::Pair(Pair {
        tools: fields.tools(counts),
        prompt,
        chosen,
        rejected,
    }))
}

/// Put the system's message before all others, unless there is one.
fn begin_with(messages: &mut Vec<Message>, system: Option<Content>, heard: &mut Heard) {
    let text = system.map_or(String::new(), |content| content.into_text(heard));
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
        serde_json::from_str::<IgnoredAny>(value)?;
        return Ok(Err(EXPECTED.to_owned()));
    }
    let mut fields: Fields = match serde_json::from_str(value) {
        Ok(fields) => fields,
        // Of a key that is there twice the last one counts, as in Python.
        Err(e) if e.to_string().starts_with("duplicate field") => {
            let object: serde_json::Value = serde_json::from_str(value)?;
            let object = with_first_names(object);
            serde_json::from_value(object)?
        }
        Err(e) => return Err(e),
    };
    let labelled = rows::is_good(&fields);
    if let Err(what) = rows::dress(&mut fields, &mut counts.heard) {
        return Ok(Err(what));
    }
    match pair(&mut fields, counts) {
        Ok(Compared::Nothing) => {}
        Ok(Compared::Alike) => {
            counts.alike = true;
            return Ok(Ok((None, Layout::Preference)));
        }
        Ok(Compared::Pair(mut pair)) => {
            begin_with(&mut pair.prompt, fields.system.take(), &mut counts.heard);
            return Ok(Ok((Some(Document::Pair(pair)), Layout::Preference)));
        }
        Err(what) => return Ok(Err(what)),
    }
    let tools = fields.tools(counts);
    let system = fields.system.take();
    let heard = &mut counts.heard;
    let chat = |turns: Vec<Turn>, layout: Layout, heard: &mut Heard| -> Read {
        let mut messages = messages_of(turns, roles, heard)?;
        begin_with(&mut messages, system, heard);
        let talk = Conversation { messages, tools };
        let document = (!talk.messages.is_empty()).then_some(Document::Chat(talk));
        Ok((document, layout))
    };
    let answered = |asked: Content, answer: Content| {
        vec![Turn::new("user", asked), Turn::new("assistant", answer)]
    };
    // A data set may have the same in several ways: a text beside them is what some template made.
    let read = match fields {
        Fields {
            messages: Some(turns),
            ..
        } => chat(turns, Layout::Messages, heard),
        Fields {
            conversations: Some(turns),
            ..
        } => chat(turns, Layout::ShareGpt, heard),
        Fields {
            instruction: Some(asked),
            input,
            output: Some(answer),
            ..
        } => {
            let mut asked = asked.into_text(heard);
            let input = match input {
                Some(Input::Content(input)) => input.into_text(heard),
                _ => String::new(),
            };
            if !input.trim().is_empty() {
                asked += "\n\n";
                asked += &input;
            }
            chat(
                answered(Content::Text(asked), answer),
                Layout::Alpaca,
                heard,
            )
        }
        Fields {
            text: Some(text), ..
        } => Ok((Some(Document::Text(text)), Layout::Text)),
        Fields {
            prompt: Some(prompt),
            completion: Some(reply),
            ..
        } => {
            let mut turns = prompt.into_turns("user");
            turns.extend(reply.into_turns("assistant"));
            chat(turns, Layout::Prompt, heard)
        }
        Fields {
            question: Some(asked),
            replied: Some(answer),
            ..
        } => chat(answered(asked, answer), Layout::Question, heard),
        _ => {
            let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(value)?;
            let null = |name: &&str| fields.get(*name).is_some_and(serde_json::Value::is_null);
            let nothing = FIELDS[..SAID].iter().any(null);
            // Questions that have no answer.
            let nothing = nothing
                || (fields.contains_key("question")
                    && (fields.contains_key("answer") || fields.contains_key("answers")));
            match nothing {
                true => Ok((None, Layout::Text)),
                false => {
                    let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
                    if names.is_empty() {
                        names.push("nothing in it");
                    }
                    Err(format!(
                        "an object with {}; {EXPECTED}",
                        shortened(&names.join(", "))
                    ))
                }
            }
        }
    };
    let read = match (read, labelled) {
        (Ok((Some(chat @ Document::Chat(_)), _)), Some(good)) => {
            counts.bad = !good;
            Ok((good.then_some(chat), Layout::Labelled))
        }
        (read, _) => read,
    };
    Ok(read)
}

/// Fields and what else they are called, of documents and of messages. Tables have a column for
/// either.
const NAMES: [(&str, &str); 5] = [
    ("completion", "response"),
    ("chosen", "preferred_output"),
    ("rejected", "non_preferred_output"),
    ("role", "from"),
    ("content", "value"),
];

/// With one of two names that the same field has in an object or in its messages: the first,
/// unless it is null.
fn with_first_names(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Array(all) => all.into_iter().map(with_first_names).collect(),
        serde_json::Value::Object(mut fields) => {
            for (name, other) in NAMES {
                if fields.contains_key(name)
                    && let Some(second) = fields.remove(other)
                    && fields[name].is_null()
                {
                    fields.insert(name.to_owned(), second);
                }
            }
            for (name, value) in &mut fields {
                // What functions take may have any names.
                if FIELDS[..TOOLS].contains(&name.as_str()) {
                    *value = with_first_names(value.take());
                }
            }
            fields.into()
        }
        other => other,
    }
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
        for (wrong, word) in [
            (r#"{"text": 1}"#, "\"text\": invalid type"),
            (
                r#"{"id": 1, "messages": "Hi"}"#,
                "\"messages\": invalid type",
            ),
            (
                r#"{"messages": [{"content": "Hi"}]}"#,
                "\"messages\": missing field `role`",
            ),
        ] {
            let e = parse(wrong).unwrap_err();
            assert!(e.contains(word) && e.contains("column"), "{wrong}: {e}");
        }
        assert!(
            list(r#"[{"role": "user"}, {}]"#).is_some_and(|e| e.starts_with("a list; expected"))
        );
        assert!(list(r#"[{"text": "a"},"#).is_none());
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

    /// Tables have a column for every field that a row may have.
    #[test]
    fn null_is_absent_and_of_two_names_the_first_one_counts() {
        let text = Document::Text("Hi".into());
        let asked = [Message::new("user", "Hi"), Message::new("assistant", "Yes")];
        let chat = Document::Chat(asked.to_vec().into());
        for (value, document) in [
            (r#"{"messages": null, "text": "Hi"}"#, &text),
            (
                r#"{"text": null, "messages": null, "prompt": "Hi", "completion": "Yes"}"#,
                &chat,
            ),
            (
                r#"{"prompt": "Hi", "completion": "Yes", "response": "No"}"#,
                &chat,
            ),
            (
                r#"{"prompt": "Hi", "completion": null, "response": "Yes"}"#,
                &chat,
            ),
            (
                r#"{"messages": [{"role": "user", "from": "x", "content": "Hi", "value": null},
                    {"role": null, "content": null, "from": "gpt", "value": "Yes"}]}"#,
                &chat,
            ),
        ] {
            assert_eq!(&found(value), document, "{value}");
        }
        let tools = r#"{"prompt": "Hi", "completion": "Yes", "response": "", "tools":
            [{"name": "f", "parameters": {"properties": {"role": 1, "from": 2}}}]}"#;
        let Document::Chat(talk) = found(tools) else {
            panic!("a conversation");
        };
        assert_eq!(talk.tools[0].parameters["properties"]["from"], 2);
        for nothing in [
            r#"{"prompt": "Hi", "completion": null}"#,
            r#"{"text": null, "id": 1}"#,
            r#"{"messages": null, "conversations": null}"#,
        ] {
            assert_eq!(parse(nothing).unwrap().document, None, "{nothing}");
        }
        assert!(
            parse("{}")
                .unwrap_err()
                .starts_with("an object with nothing in it; expected")
        );
        let e = parse(r#"{"Text": "a", "tools": null}"#).unwrap_err();
        assert!(e.starts_with("an object with Text, tools; expected"), "{e}");
        let long = format!(r#"{{"messages": {:?}}}"#, "x".repeat(9999));
        assert!(parse(&long).unwrap_err().len() < 400);
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
        let same = parse(r#"{"prompt": "Hi", "chosen": "Hello", "rejected": "Hello"}"#).unwrap();
        assert!(same.alike && same.document.is_none());
        for more in [r#""chosen": true"#, r#""chosen": 0.5, "rejected": 0.1"#] {
            let other = format!(r#"{{"messages": {asked}, {more}}}"#);
            assert!(matches!(found(&other), Document::Chat(_)));
        }
    }

    #[test]
    fn pairs_are_read_in_the_dress_of_instructions_and_conversations() {
        let said = |role: &str, text: &str| Message::new(role, text);
        let pair = |prompt: &[(&str, &str)]| {
            Document::Pair(Pair {
                tools: Vec::new(),
                prompt: prompt.iter().map(|(role, text)| said(role, text)).collect(),
                chosen: vec![said("assistant", "Hello")],
                rejected: vec![said("assistant", "Go")],
            })
        };
        let hi: &[(&str, &str)] = &[("user", "Hi")];
        let sort: &[(&str, &str)] = &[("user", "Sort.\n\nb a")];
        let longer: &[(&str, &str)] = &[("user", "Yo"), ("assistant", "Yes?"), ("user", "Hi")];
        let message = |text: &str| format!(r#"{{"role": "assistant", "content": "{text}"}}"#);
        let turn = |text: &str| format!(r#"{{"from": "gpt", "value": "{text}"}}"#);
        let answers =
            |chosen: &str, rejected: &str| format!(r#""chosen": {chosen}, "rejected": {rejected}"#);
        let texts = answers(r#""Hello""#, r#""Go""#);
        let messages = answers(&message("Hello"), &message("Go"));
        let turns = answers(&turn("Hello"), &turn("Go"));
        let listed = answers(
            &format!("[{}]", turn("Hello")),
            &format!("[{}]", turn("Go")),
        );
        let mixed = answers(&message("Hello"), r#""Go""#);
        let asked = r#"{"role": "user", "content": "Hi"}"#;
        let human = r#"{"from": "human", "value": "Hi"}"#;
        let before =
            r#"{"role": "user", "content": "Yo"}, {"role": "assistant", "content": "Yes?"}"#;
        for all in [&texts, &messages, &turns, &listed, &mixed] {
            for (fields, prompt) in [
                (r#""prompt": "Hi""#.to_owned(), hi),
                (r#""instruction": "Hi""#.to_owned(), hi),
                (
                    r#""instruction": "Hi", "input": "", "output": "x""#.to_owned(),
                    hi,
                ),
                (r#""instruction": "Sort.", "input": "b a""#.to_owned(), sort),
                (
                    r#""instruction": "Sort.", "context": "b a""#.to_owned(),
                    sort,
                ),
                (r#""question": "Sort.", "context": "b a""#.to_owned(), sort),
                (format!(r#""messages": [{asked}]"#), hi),
                (format!(r#""conversations": [{human}]"#), hi),
                // The chosen answer is in the conversation, too.
                (
                    format!(r#""messages": [{asked}, {}]"#, message("Hello")),
                    hi,
                ),
                (format!(r#""messages": [{before}, {asked}]"#), longer),
            ] {
                let value = format!("{{{fields}, {all}}}");
                let found = parse(&value).unwrap_or_else(|e| panic!("{value}: {e}"));
                assert_eq!(found.document, Some(pair(prompt)), "{value}");
                assert_eq!(found.layout, Layout::Preference, "{value}");
            }
        }
        // Whole conversations, and those that go on from the one beside them.
        let whole = answers(
            &format!("[{human}, {}]", turn("Hello")),
            &format!("[{human}, {}]", turn("Go")),
        );
        for (fields, prompt) in [
            (String::new(), hi),
            (
                format!(r#""messages": [{asked}, {}], "#, message("Hello")),
                hi,
            ),
            (format!(r#""conversations": [{human}], "#), hi),
            (r#""instruction": "other", "#.to_owned(), hi),
            (format!(r#""messages": [{before}], "#), longer),
        ] {
            let value = format!("{{{fields}{whole}}}");
            assert_eq!(found(&value), pair(prompt), "{value}");
        }
        let e = parse(&format!(
            r#"{{"messages": [{asked}, {}], {texts}}}"#,
            message("Hm")
        ))
        .unwrap_err();
        assert!(
            e.contains("ends with another answer") && e.contains("expected"),
            "{e}"
        );
        // Objects that are no answers.
        let scores = format!(
            r#"{{"messages": [{asked}], "chosen": {{"score": 1}}, "rejected": {{"score": 0}}}}"#
        );
        assert!(matches!(found(&scores), Document::Chat(_)));
    }

    #[test]
    fn questions_about_a_context_are_read_with_it() {
        let chat = |asked: &str, answer: &str| {
            let messages = vec![
                Message::new("user", asked),
                Message::new("assistant", answer),
            ];
            Some(Document::Chat(messages.into()))
        };
        let (bare, about) = (chat("Who?", "Ann"), chat("Who?\n\nAnn ran.", "Ann"));
        let two = chat("Who?\n\nAnn ran.\n\nBob too.", "Ann");
        for (value, document, layout) in [
            (
                r#"{"instruction": "Who?", "context": "Ann ran.", "response": "Ann", "category": "qa"}"#,
                &about,
                Layout::Alpaca,
            ),
            (
                r#"{"instruction": "Who?", "context": "", "response": "Ann"}"#,
                &bare,
                Layout::Alpaca,
            ),
            (
                r#"{"instruction": "Who?", "context": null, "response": "Ann"}"#,
                &bare,
                Layout::Alpaca,
            ),
            (
                r#"{"instruction": "Who?", "input": "Ann ran.", "response": "Ann"}"#,
                &about,
                Layout::Alpaca,
            ),
            (
                r#"{"instruction": "Who?", "context": "Ann ran.", "output": "Ann"}"#,
                &about,
                Layout::Alpaca,
            ),
            (
                r#"{"instruction": "Who?", "input": "Ann ran.", "context": "Bob too.", "output": "Ann"}"#,
                &two,
                Layout::Alpaca,
            ),
            (
                r#"{"instruction": "Who?", "completion": "Ann"}"#,
                &bare,
                Layout::Alpaca,
            ),
            (
                r#"{"question": "Who?", "context": "Ann ran.", "answer": "Ann"}"#,
                &about,
                Layout::Question,
            ),
            (
                r#"{"question": "Who?", "context": ["Ann ran.", "Bob too."], "answer": "Ann"}"#,
                &two,
                Layout::Question,
            ),
            (
                r#"{"id": "1", "title": "T", "question": "Who?", "context": "Ann ran.", "answers": {"text": ["Ann", "She"], "answer_start": [0, 1]}}"#,
                &about,
                Layout::Question,
            ),
            (
                r#"{"question": "Who?", "context": "Ann ran.", "answers": ["Ann", "She"]}"#,
                &about,
                Layout::Question,
            ),
            (
                r#"{"question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}]}"#,
                &bare,
                Layout::Question,
            ),
            (
                r#"{"question": "Who?", "answer": ["Ann", "She"]}"#,
                &bare,
                Layout::Question,
            ),
            (
                r#"{"question": "Who?", "answer": {"text": "Ann"}}"#,
                &bare,
                Layout::Question,
            ),
            (
                r#"{"question": "Who?", "answer": [{"type": "text", "text": "Ann"}]}"#,
                &bare,
                Layout::Question,
            ),
            (
                r#"{"question": "Who?", "response": "Ann"}"#,
                &bare,
                Layout::Question,
            ),
            (
                r#"{"prompt": "Who?", "context": "Ann ran.", "response": "Ann"}"#,
                &about,
                Layout::Prompt,
            ),
            (
                r#"{"prompt": "Who?", "context": {"user": 5}, "response": "Ann"}"#,
                &bare,
                Layout::Prompt,
            ),
            (
                r#"{"prompt": "Who?", "output": "Ann"}"#,
                &bare,
                Layout::Prompt,
            ),
            // What was read before is read so still.
            (
                r#"{"instruction": "No", "prompt": "Who?", "completion": "Ann"}"#,
                &bare,
                Layout::Prompt,
            ),
            (
                r#"{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ann"}], "context": {"a": 1}}"#,
                &bare,
                Layout::Messages,
            ),
        ] {
            let found = parse(value).unwrap_or_else(|e| panic!("{value}: {e}"));
            assert_eq!(
                (&found.document, found.layout),
                (document, layout),
                "{value}"
            );
        }
        let Document::Chat(talk) =
            found(r#"{"system_prompt": "Be brief.", "question": "Who?", "response": "Ann"}"#)
        else {
            panic!("a conversation");
        };
        assert_eq!(talk.messages[0], Message::new("system", "Be brief."));
        // Questions without an answer, as SQuAD has them.
        for answers in [r#"{"text": [], "answer_start": []}"#, "[]", "null"] {
            let value =
                format!(r#"{{"question": "Who?", "context": "Ann ran.", "answers": {answers}}}"#);
            assert_eq!(parse(&value).unwrap().document, None, "{value}");
        }
        for (value, word) in [
            (
                r#"{"question": "Who?", "answers": {"value": "Ann"}}"#,
                "\"answers\"",
            ),
            (r#"{"question": "Who?", "answer": 5}"#, "\"answer\""),
            (
                r#"{"question": "Who?", "context": {"title": ["A"]}, "answer": "Ann"}"#,
                "\"context\"",
            ),
            (
                r#"{"instruction": "Who?", "context": 7, "response": "Ann"}"#,
                "\"context\"",
            ),
            (
                r#"{"question": "Who?", "context": "Ann ran."}"#,
                "question, context",
            ),
        ] {
            let e = parse(value).unwrap_err();
            assert!(e.contains(word) && e.contains("expected"), "{value}: {e}");
        }
    }

    #[test]
    fn answers_labelled_as_bad_are_left_out() {
        let turns =
            r#"[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Go"}]"#;
        let shapes = [
            r#""prompt": "Hi", "completion": "Go""#.to_owned(),
            r#""prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Go"}]"#.to_owned(),
            r#""instruction": "Hi", "output": "Go""#.to_owned(),
            format!(r#""messages": {turns}"#),
            r#""conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Go"}]"#.to_owned(),
        ];
        for shape in &shapes {
            for (label, good) in [
                ("false", Some(false)),
                ("0", Some(false)),
                ("0.0", Some(false)),
                ("-1", Some(false)),
                (r#""false""#, Some(false)),
                (r#""False""#, Some(false)),
                (r#""0""#, Some(false)),
                (r#""undesirable""#, Some(false)),
                ("true", Some(true)),
                ("1", Some(true)),
                (r#""True""#, Some(true)),
                ("null", None),
                ("7", None),
                (r#""poetry""#, None),
            ] {
                for name in ["label", "kto_tag"] {
                    let value = format!(r#"{{{shape}, "{name}": {label}}}"#);
                    let found = parse(&value).unwrap();
                    assert_eq!(found.document.is_some(), good != Some(false), "{value}");
                    assert_eq!(found.bad, good == Some(false), "{value}");
                    assert_eq!(found.layout == Layout::Labelled, good.is_some(), "{value}");
                }
            }
        }
        // The classes of texts, and of pairs, are something else.
        assert_eq!(
            found(r#"{"text": "Hi", "label": 0}"#),
            Document::Text("Hi".into())
        );
        let pair = r#"{"prompt": "Hi", "chosen": "Hello", "rejected": "Go", "label": 0}"#;
        assert!(matches!(found(pair), Document::Pair(_)));
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
