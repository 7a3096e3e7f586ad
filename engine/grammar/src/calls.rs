//! Calls of functions: their schemas, and the Lark grammar of texts with calls in them.
//!
//! A lexer takes what matches longest, so a mark that begins calls cannot be a word of its own
//! behind a text that might go on: what comes before it belongs to the same word, which ends with
//! the first mark. A special token ends a text by itself.

use serde_json::{Value, json};

use crate::constraint::{Callable, Calls, Inside, Mark};
use crate::schema::placed;

/// What a text must not begin with: where it is JSON from its beginning, it is taken for calls.
const LEADS: &str = r"[ \t\r\n]*(\{|\[[^T]|\[T[^O])(?s:.*)";

/// The grammar; `special` knows the ids of special tokens, `options` is what schemas are read with.
pub fn grammar(
    calls: &Calls,
    schemas: &[Value],
    options: &Value,
    special: impl Fn(&str) -> Option<u32>,
) -> String {
    let marks = &calls.marks;
    let any: Vec<String> = marks.iter().map(|mark| escaped(&mark.begin)).collect();
    let any = any.join("|");
    let mut lines = Vec::new();
    let (mut items, mut last) = (Vec::new(), vec!["TEXT".to_owned()]);
    for (i, mark) in marks.iter().enumerate() {
        if mark.inside == Inside::Never {
            continue;
        }
        let begin = match special(&mark.begin) {
            Some(id) => format!("TEXT? <[{id}]>"),
            None => {
                lines.push(format!(
                    "MARK{i}: /(?s:.*){}/ & ~/(?s:.*)({any})(?s:.+)/ & ~/{LEADS}/",
                    escaped(&mark.begin)
                ));
                format!("MARK{i}")
            }
        };
        let inside = inside(mark);
        last.push(format!("{begin} WS? {inside} WS?"));
        if let Some(end) = &mark.end {
            items.push(format!("{begin} WS? {inside} WS? {}", word(end, &special)));
        }
    }
    let items = match items.is_empty() {
        true => String::new(),
        false => format!("({})* ", items.join(" | ")),
    };
    lines.push(format!(
        "start: {items}({})? | WS? calls WS?",
        last.join(" | ")
    ));
    lines.push(format!(
        "TEXT: /(?s:.+)/ & ~/(?s:.*)({any})(?s:.*)/ & ~/{LEADS}/"
    ));
    lines.push(r"WS: /[ \t\r\n]+/".to_owned());
    let any_at = |at: &str| {
        let names = ["arguments", "parameters"];
        json!({ "anyOf": one_of(&calls.functions, schemas, &names, at) })
    };
    let of = |mut schema: Value| {
        schema["x-guidance"] = options.clone();
        schema
    };
    lines.push("calls: one | list".to_owned());
    lines.push(format!("one: %json {}", of(any_at("#"))));
    let list = json!({ "type": "array", "items": any_at("#/items"), "minItems": 1 });
    lines.push(format!("list: %json {}", of(list)));
    let arguments = word("[ARGS]", &special);
    let named = calls
        .functions
        .iter()
        .zip(schemas)
        .map(|(function, schema)| {
            let name = Value::from(function.name.as_str());
            format!("{name} {arguments}? %json {}", of(schema.clone()))
        });
    lines.push(format!("named: {}", named.collect::<Vec<_>>().join(" | ")));
    lines.join("\n") + "\n"
}

fn inside(mark: &Mark) -> &'static str {
    match mark.inside {
        Inside::JsonOrNamed => "(calls | named)",
        Inside::Json | Inside::Never => "calls",
    }
}

/// Schemas of a call of each function, with its arguments by each of `names`, for a list called
/// `anyOf` in what stands `at`.
pub fn one_of(functions: &[Callable], schemas: &[Value], names: &[&str], at: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for (function, schema) in functions.iter().zip(schemas) {
        for arguments in names {
            let at = format!("{at}/anyOf/{}/properties/{arguments}", all.len());
            all.push(json!({
                "type": "object",
                "properties": { "name": { "const": function.name }, *arguments: placed(schema, &at) },
                "required": ["name", arguments],
                "additionalProperties": false,
            }));
        }
    }
    all
}

/// A word of the grammar: a special token, or letters.
fn word(text: &str, special: &impl Fn(&str) -> Option<u32>) -> String {
    match special(text) {
        Some(id) => format!("<[{id}]>"),
        None => Value::from(text).to_string(),
    }
}

/// `text` in a regular expression between slashes.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]{}^$#&-~/".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compiler, Form, Grammars, Vocabulary};

    /// A token for every byte, marks that are special, some that are words, and the end.
    const SPECIALS: [&str; 4] = ["<|tool_call|>", "[TOOL_CALLS]", "[ARGS]", "<end>"];

    fn grammars() -> Grammars {
        let mut words: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
        let specials: Vec<u32> = (256..256 + SPECIALS.len() as u32).collect();
        words.extend(SPECIALS.map(|name| name.as_bytes().to_vec()));
        words.push(b"<tool_call>".to_vec());
        words.push(b"> \n".to_vec());
        Grammars::new(&Vocabulary {
            words,
            ends: vec![specials[3]],
            specials,
        })
        .unwrap()
    }

    fn form() -> Form {
        let mark = |begin: &str, end: Option<&str>, inside| Mark {
            begin: begin.to_owned(),
            end: end.map(str::to_owned),
            inside,
        };
        let function = |name: &str, parameters: &str| Callable {
            name: name.to_owned(),
            parameters: parameters.to_owned(),
        };
        Form::Calls(Calls {
            functions: vec![
                function(
                    "look",
                    r#"{"type":"object","properties":{"at":{"enum":["cat","dog"]}},"required":["at"],"additionalProperties":false}"#,
                ),
                function("wait", r#"{"type":"object"}"#),
            ],
            marks: vec![
                mark("<tool_call>", Some("</tool_call>"), Inside::Json),
                mark("<|tool_call|>", Some("<|/tool_call|>"), Inside::Json),
                mark("<function=", Some("</function>"), Inside::Never),
                mark("[TOOL_CALLS]", None, Inside::JsonOrNamed),
                mark("<|python_tag|>", None, Inside::Json),
            ],
        })
    }

    fn goes(grammars: &Grammars, reply: &str) -> bool {
        fits_form(grammars, &form(), reply)
    }

    /// Whether a reply can be written, byte by byte but for special tokens, and ended.
    fn fits_form(grammars: &Grammars, form: &Form, reply: &str) -> bool {
        let mut constraint = grammars.constraint(form).unwrap();
        let mut rest = reply;
        while !rest.is_empty() {
            let special = (0..3).find(|i| rest.starts_with(SPECIALS[*i]));
            let (id, len) = match special {
                Some(i) => (256 + i as u32, SPECIALS[i].len()),
                None => (u32::from(rest.as_bytes()[0]), 1),
            };
            if !constraint.allowed().unwrap().allows(id) {
                return false;
            }
            constraint.accept(id).unwrap();
            // Of ASCII alone, here.
            rest = &rest[len..];
        }
        constraint.allowed().unwrap().allows(259)
    }

    #[test]
    fn calls_fit_their_schemas_in_every_form_and_texts_are_free() {
        let grammars = grammars();
        let good = r#"{"name": "look", "arguments": {"at": "cat"}}"#;
        for reply in [
            "",
            "Nothing to look at: 3 < 4, [1] and {2}.",
            "A tool is called <tool or <function, or [TOOL.",
            &format!("<tool_call>\n{good}\n</tool_call>"),
            &format!(
                "Let me see.\n<tool_call>{good}</tool_call>\n<tool_call>\n{good}</tool_call> So."
            ),
            &format!("<tool_call>{good}"),
            &format!("<|tool_call|>[{good}, {good}]"),
            &format!("Well: <|tool_call|>[{good}]<|/tool_call|>"),
            &format!("[TOOL_CALLS] [{good}]"),
            "[TOOL_CALLS]look[ARGS]{\"at\": \"dog\"}",
            "[TOOL_CALLS]look{\"at\": \"dog\"}",
            r#"<|python_tag|>{"name": "look", "parameters": {"at": "cat"}}"#,
            r#"{"name": "look", "parameters": {"at": "cat"}}"#,
            r#"{"name": "wait", "arguments": {"any": [1, null]}}"#,
            &format!("[{good}]"),
        ] {
            assert!(goes(&grammars, reply), "{reply}");
        }
        let bad = r#"{"name": "look", "arguments": {"at": "cow"}}"#;
        for reply in [
            bad,
            &format!("<tool_call>{bad}</tool_call>"),
            &format!("Text <tool_call>{bad}</tool_call>"),
            &format!("<tool_call>{good}</tool_call> and <tool_call>{bad}</tool_call>"),
            &format!("<|tool_call|>[{good}, {bad}]"),
            &format!("[TOOL_CALLS][{bad}]"),
            "[TOOL_CALLS]look[ARGS]{\"at\": \"cow\"}",
            "<tool_call>{\"name\": \"run\", \"arguments\": {}}</tool_call>",
            "<tool_call>{\"name\": \"look\"}</tool_call>",
            "<tool_call>what?</tool_call>",
            "<function=look>{\"at\": \"cat\"}</function>",
            r#"<|python_tag|>{"name": "look", "parameters": {}}"#,
        ] {
            assert!(!goes(&grammars, reply), "{reply}");
        }
    }

    #[test]
    fn tokens_may_hold_marks_and_what_surrounds_them() {
        let grammars = grammars();
        let mut constraint = grammars.constraint(&form()).unwrap();
        for byte in "So: ".bytes() {
            constraint.accept(u32::from(byte)).unwrap();
        }
        assert!(constraint.allowed().unwrap().allows(260));
        constraint.accept(260).unwrap();
        let allowed = constraint.allowed().unwrap();
        assert!(allowed.allows(u32::from(b'{')) && !allowed.allows(u32::from(b'w')));
        assert!(!allowed.allows(259), "a mark without calls ended a reply");
        // The mark's last letter with what may follow it.
        let mut constraint = grammars.constraint(&form()).unwrap();
        for byte in "<tool_call".bytes() {
            constraint.accept(u32::from(byte)).unwrap();
        }
        assert!(constraint.allowed().unwrap().allows(261));
        constraint.accept(261).unwrap();
        assert!(constraint.allowed().unwrap().allows(u32::from(b'{')));
    }

    /// What pydantic and zod make of nested types: definitions, and parts that refer to them.
    #[test]
    fn schemas_refer_to_their_own_definitions_wherever_they_stand() {
        let parameters = r##"{"$defs":{"At":{"type":"object","properties":{"x":{"enum":[1]},"next":{"$ref":"#/$defs/At"}},"required":["x"]}},
            "type":"object","properties":{"at":{"$ref":"#/$defs/At"},"again":{"$ref":"#"}},"required":["at"]}"##;
        let Form::Calls(mut calls) = form() else {
            unreachable!("it is one");
        };
        calls.functions[1].parameters = parameters.to_owned();
        let call = Form::Call(calls.functions.clone());
        let calls = Form::Calls(calls);
        let arguments = r#"{"at": {"x": 1, "next": {"x": 1}}, "again": {"at": {"x": 1}}}"#;
        let good = format!(r#"{{"name": "wait", "arguments": {arguments}}}"#);
        let wrong = good.replace("1}}, ", "2}}, ");
        for (form, reply, fits) in [
            (&call, good.clone(), true),
            (&call, wrong.clone(), false),
            (&call, "Well, I wait.".to_owned(), false),
            (&calls, good.clone(), true),
            (&calls, wrong.clone(), false),
            (&calls, format!("<tool_call>[{good}]</tool_call>"), true),
            (&calls, format!("<tool_call>[{wrong}]</tool_call>"), false),
        ] {
            assert_eq!(fits_form(&grammars(), form, &reply), fits, "{reply}");
        }
    }

    /// Arguments are an object's even where a schema does not say so.
    #[test]
    fn arguments_are_objects() {
        let call = |parameters: &str| {
            let function = Callable {
                name: "f".to_owned(),
                parameters: parameters.to_owned(),
            };
            Form::Call(vec![function])
        };
        let reply = |arguments: &str| format!(r#"{{"name": "f", "arguments": {arguments}}}"#);
        for parameters in ["{}", r#"{"properties": {"a": {"enum": [1]}}}"#, "true"] {
            let form = call(parameters);
            assert!(fits_form(&grammars(), &form, &reply(r#"{"a": 1}"#)));
            assert!(!fits_form(&grammars(), &form, &reply("1")));
        }
        // A function that takes none gets none.
        let form = call(r#"{"type": "object", "properties": {}}"#);
        assert!(fits_form(&grammars(), &form, &reply("{}")));
        assert!(!fits_form(&grammars(), &form, &reply(r#"{"a": 1}"#)));
        let form = call(r#"{"properties": {}, "additionalProperties": true}"#);
        assert!(fits_form(&grammars(), &form, &reply(r#"{"a": 1}"#)));
        let problem = grammars().constraint(&call(r#"{"properties": {"a": {"not": {}}}}"#));
        let problem = problem.err().unwrap().to_string();
        assert!(
            problem.contains("f's parameters") && problem.contains("#/properties/a"),
            "{problem}"
        );
    }

    #[test]
    fn a_grammar_without_a_text_is_refused() {
        for form in [
            Form::Lark("start: start".to_owned()),
            Form::Regex(r"[^\s\S]".to_owned()),
        ] {
            let problem = grammars().constraint(&form).err().unwrap().to_string();
            assert!(problem.contains("no text is one of it"), "{problem}");
        }
    }

    #[test]
    fn a_schema_that_cannot_be_held_is_named() {
        let Form::Calls(mut calls) = form() else {
            unreachable!("it is one");
        };
        calls.functions[1].parameters =
            r#"{"type":"object","properties":{"a":{"type":"nothing"}}}"#.to_owned();
        let problem = grammars().constraint(&Form::Calls(calls));
        let problem = problem.err().unwrap().to_string();
        assert!(problem.contains("wait's parameters"), "{problem}");
        assert!(problem.contains("#/properties/a"), "{problem}");
    }
}
