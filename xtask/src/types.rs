//! `cargo xtask types`: what the npm package's requests, answers and pieces of streams are, made of
//! the server's own description of its endpoints, so that both have one set of types.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::docs;
use crate::shell::{run, step};
use crate::workspace;

const DESCRIPTION: &str = "docs/openapi.json";
const PACKAGE: &str = "web/package";
/// How the files begin that are made here.
const WRITTEN: &str = "// Written by `cargo xtask types`";
const SCHEMA_PREFIX: &str = "#/components/schemas/";

/// A kind of request that both take.
struct Kind {
    /// What the package calls it.
    name: &'static str,
    path: &'static str,
    request: &'static str,
    about: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "chat",
        path: "/v1/chat/completions",
        request: "ChatRequest",
        about: "A request for a reply to a conversation. What is not given, or is null, is as suits the model.",
    },
    Kind {
        name: "text",
        path: "/v1/completions",
        request: "TextRequest",
        about: "A request to go on with a text. What is not given, or is null, is as suits the model.",
    },
];

/// Where the package takes less than the server, or says something else of it: what is merged into
/// the parameter's schema. Without a kind it holds for all.
const NARROWER: [(Option<&str>, &str, &str); 15] = [
    (
        None,
        "model",
        r#"{"description": "The model's name, or an adapter's that answers beside it. Where it is not given: the adapter that a fine-tuning kept, if one did, else the model."}"#,
    ),
    (
        None,
        "response_format",
        r#"{"description": "What the reply has to be. What compiles it is fetched with the first reply of a form."}"#,
    ),
    (
        None,
        "stream_options",
        r#"{"description": "`usage` comes with the last piece of every stream, whatever this says."}"#,
    ),
    (
        None,
        "n",
        r#"{"x-rule": "only", "enum": [1], "description": "One reply comes of a request."}"#,
    ),
    (
        None,
        "presence_penalty",
        r#"{"x-rule": "only", "enum": [0], "description": "There is `repetition_penalty`."}"#,
    ),
    (
        None,
        "frequency_penalty",
        r#"{"x-rule": "only", "enum": [0], "description": "There is `repetition_penalty`."}"#,
    ),
    (
        None,
        "logit_bias",
        r#"{"x-rule": "only", "enum": [{}], "description": "Logits are not changed here."}"#,
    ),
    (
        Some("chat"),
        "logprobs",
        r#"{"x-rule": "only", "enum": [false], "description": "Probabilities are not told here."}"#,
    ),
    (
        Some("chat"),
        "top_logprobs",
        r#"{"x-rule": "only", "enum": [0], "description": "Probabilities are not told here."}"#,
    ),
    (
        Some("chat"),
        "chat_template_kwargs",
        r#"{"x-rule": "only", "enum": [{}], "description": "The template is given messages and tools alone."}"#,
    ),
    (
        Some("chat"),
        "reasoning_effort",
        r#"{"description": "models here have no such setting"}"#,
    ),
    (Some("text"), "max_tokens", r#"{"minimum": 1}"#),
    (
        Some("text"),
        "prompt",
        r#"{"oneOf": null, "type": "string", "description": "The text to go on with."}"#,
    ),
    (
        Some("text"),
        "logprobs",
        r#"{"x-rule": "only", "enum": [], "description": "Probabilities are not told here."}"#,
    ),
    (
        Some("text"),
        "echo",
        r#"{"x-rule": "only", "enum": [false], "description": "The prompt is not repeated."}"#,
    ),
];

/// Writes the server's description, and of it the package's types and parameters.
pub fn write() -> Result<()> {
    step(&format!("the server's endpoints in {DESCRIPTION}"));
    run(docs::onebit()?
        .args(["manual", "--format", "openapi", "--output-dir"])
        .arg(workspace::root().join("docs")))?;
    step(&format!("the package's types in {PACKAGE}"));
    for (name, text) in generated()? {
        let path = workspace::root().join(PACKAGE).join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The files of the package that are made of the description, by name.
fn generated() -> Result<[(&'static str, String); 2]> {
    let path = workspace::root().join(DESCRIPTION);
    let description = read(&path)?;
    let description: Value = serde_json::from_str(&description)
        .with_context(|| format!("{} is no JSON", path.display()))?;
    Ok([
        ("openai.d.ts", types(&description)?),
        ("openai.js", parameters(&description)?),
    ])
}

fn read(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    // Windows checks texts out with its own line ends.
    Ok(text.replace("\r\n", "\n"))
}

/// A parameter of the package's requests.
struct Parameter {
    name: String,
    schema: Value,
    required: bool,
}

impl Parameter {
    fn rule(&self) -> Option<&str> {
        self.schema["x-rule"].as_str()
    }

    fn values(&self) -> &[Value] {
        self.schema["enum"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Whether a request may have it.
    fn is_taken(&self) -> bool {
        match self.rule() {
            Some("refused") => false,
            Some("only") => !self.values().is_empty(),
            _ => true,
        }
    }
}

/// Those of a kind of request: the server's, as far as the package honors them. Those that must be
/// given come first.
fn parameters_of(description: &Value, kind: &Kind) -> Result<Vec<Parameter>> {
    let body = &description["paths"][kind.path]["post"]["requestBody"]["content"]["application/json"]
        ["schema"];
    let properties = body["properties"]
        .as_object()
        .with_context(|| format!("{DESCRIPTION}: {} takes nothing", kind.path))?;
    let required = |name: &str| {
        let all = body["required"].as_array().into_iter().flatten();
        all.into_iter().any(|required| required == name)
    };
    let mut all = Vec::new();
    for (name, schema) in properties {
        let mut schema = schema.clone();
        let here = |of: &Option<&str>| of.is_none_or(|of| of == kind.name);
        for (_, _, patch) in NARROWER.iter().filter(|(of, n, _)| here(of) && n == name) {
            let patch: Map<String, Value> = serde_json::from_str(patch)
                .with_context(|| format!("what the package makes of {name} is no JSON"))?;
            for (key, value) in patch {
                match value {
                    Value::Null => schema.as_object_mut().and_then(|s| s.shift_remove(&key)),
                    value => schema.as_object_mut().and_then(|s| s.insert(key, value)),
                };
            }
        }
        all.push(Parameter {
            name: name.clone(),
            schema,
            required: required(name),
        });
    }
    for (of, name, _) in NARROWER {
        let here = of.is_none_or(|of| of == kind.name);
        ensure!(
            !here || properties.contains_key(name),
            "{} has no parameter {name}, which the package narrows",
            kind.path
        );
    }
    all.sort_by_key(|parameter| !parameter.required);
    Ok(all)
}

/// openai.d.ts: the types that both share.
fn types(description: &Value) -> Result<String> {
    let schemas = description["components"]["schemas"]
        .as_object()
        .with_context(|| format!("{DESCRIPTION} has no schemas"))?;
    let mut requests = String::new();
    let mut named = BTreeSet::new();
    for kind in &KINDS {
        comment(&mut requests, "", kind.about);
        _ = writeln!(requests, "export interface {} {{", kind.request);
        for parameter in parameters_of(description, kind)? {
            if !parameter.is_taken() {
                continue;
            }
            named_in(&parameter.schema, schemas, &mut named);
            let about = parameter.schema["description"].as_str().unwrap_or_default();
            comment(&mut requests, "  ", about);
            let kind = written(&parameter.schema, "  ")
                .with_context(|| format!("the parameter {}", parameter.name))?;
            _ = match parameter.required {
                true => writeln!(requests, "  {}: {kind};", parameter.name),
                false => writeln!(requests, "  {}?: {kind} | null;", parameter.name),
            };
        }
        requests += "}\n\n";
        let answers = &description["paths"][kind.path]["post"]["responses"]["200"]["content"];
        named_in(answers, schemas, &mut named);
    }
    let mut out = format!(
        "{WRITTEN} from {DESCRIPTION}: edit the server's tables and schemas instead.\n\
         /* What requests and answers are, in the shape of OpenAI's API: the same for this package and for `onebit serve`. */\n\n"
    );
    out += &requests;
    for (name, schema) in schemas.iter().filter(|(name, _)| named.contains(*name)) {
        comment(
            &mut out,
            "",
            schema["description"].as_str().unwrap_or_default(),
        );
        let kind = written(schema, "").with_context(|| format!("the schema {name}"))?;
        _ = match schema["properties"].is_object() {
            true => writeln!(out, "export interface {name} {kind}\n"),
            // A union begins on a line of its own.
            false if kind.starts_with('\n') => writeln!(out, "export type {name} ={kind};\n"),
            false => writeln!(out, "export type {name} = {kind};\n"),
        };
    }
    Ok(out.trim_end().to_owned() + "\n")
}

/// Adds the names of all schemas that `value` refers to, and those that they refer to.
fn named_in(value: &Value, schemas: &Map<String, Value>, named: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let reference = fields.get("$ref").and_then(Value::as_str);
            if let Some(name) = reference.and_then(|text| text.strip_prefix(SCHEMA_PREFIX))
                && named.insert(name.to_owned())
                && let Some(schema) = schemas.get(name)
            {
                named_in(schema, schemas, named);
            }
            for field in fields.values() {
                named_in(field, schemas, named);
            }
        }
        Value::Array(values) => {
            for value in values {
                named_in(value, schemas, named);
            }
        }
        _ => {}
    }
}

fn comment(out: &mut String, indent: &str, text: &str) {
    if !text.is_empty() {
        _ = writeln!(out, "{indent}/** {text} */");
    }
}

/// The TypeScript of a schema, whose further lines begin with `indent`.
fn written(schema: &Value, indent: &str) -> Result<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix(SCHEMA_PREFIX);
        return Ok(name
            .with_context(|| format!("the reference {reference}"))?
            .to_owned());
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values.iter().map(literal).collect();
        return Ok(values.join(" | "));
    }
    if let Some(value) = schema.get("const") {
        return Ok(literal(value));
    }
    if let Some(parts) = schema["oneOf"].as_array() {
        let inner = format!("{indent}  ");
        let parts: Vec<String> = parts
            .iter()
            .map(|part| written(part, &inner))
            .collect::<Result<_>>()?;
        let objects = parts.iter().filter(|part| part.starts_with('{')).count();
        return Ok(match objects > 1 {
            true => parts
                .iter()
                .map(|part| format!("\n{inner}| {part}"))
                .collect(),
            false => parts.join(" | "),
        });
    }
    match &schema["type"] {
        Value::Array(types) => {
            let parts: Vec<String> = types
                .iter()
                .map(|kind| written(&serde_json::json!({ "type": kind }), indent))
                .collect::<Result<_>>()?;
            Ok(parts.join(" | "))
        }
        Value::String(kind) => match kind.as_str() {
            "string" | "boolean" | "null" => Ok(kind.clone()),
            "number" | "integer" => Ok("number".to_owned()),
            "array" => {
                let items = &schema["items"];
                let item = written(items, indent)?;
                let plain = |c: char| c.is_alphanumeric() || c == '[' || c == ']';
                let plain = items["type"] == "object" || item.chars().all(plain);
                Ok(match plain {
                    true => format!("{item}[]"),
                    false => format!("({item})[]"),
                })
            }
            "object" => object(schema, indent),
            other => bail!("the type {other} is not known here"),
        },
        Value::Null => Ok("unknown".to_owned()),
        other => bail!("the type {other} is not known here"),
    }
}

/// An object is written in one line where nothing in it is explained and nothing is long.
fn object(schema: &Value, indent: &str) -> Result<String> {
    let Some(properties) = schema["properties"].as_object() else {
        let values = written(&schema["additionalProperties"], indent)?;
        return Ok(format!("Record<string, {values}>"));
    };
    let required = |name: &str| {
        let all = schema["required"].as_array().into_iter().flatten();
        all.into_iter().any(|required| required == name)
    };
    let inner = format!("{indent}  ");
    let mut lines = Vec::new();
    let mut explained = indent.is_empty();
    for (name, property) in properties {
        let mut line = String::new();
        let about = property["description"].as_str().unwrap_or_default();
        // What is named is explained where it is.
        explained |= !about.is_empty();
        comment(&mut line, &inner, about);
        let mark = if required(name) { "" } else { "?" };
        line += &format!("{inner}{name}{mark}: {};\n", written(property, &inner)?);
        lines.push(line);
    }
    if explained {
        return Ok(format!("{{\n{}{indent}}}", lines.concat()));
    }
    let fields: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    Ok(format!("{{ {} }}", fields.join(" ").trim_end_matches(';')))
}

fn literal(value: &Value) -> String {
    match value {
        Value::Object(fields) if fields.is_empty() => "Record<string, never>".to_owned(),
        other => other.to_string(),
    }
}

/// openai.js: what becomes of each parameter.
fn parameters(description: &Value) -> Result<String> {
    let mut out = format!(
        "{WRITTEN} from {DESCRIPTION}: edit the server's tables, or xtask/src/types.rs, instead.\n\n\
         /** What becomes of a parameter: true, it is honored; null, it changes nothing; a list has the values that are accepted because they\n \
         * change nothing; a text says why it is refused. */\nexport const PARAMETERS = {{\n"
    );
    let mut limits = String::new();
    for kind in &KINDS {
        _ = writeln!(out, "  {}: {{", kind.name);
        _ = writeln!(limits, "  {}: {{", kind.name);
        for parameter in parameters_of(description, kind)? {
            let rule = match parameter.rule() {
                None => true.into(),
                Some("ignored") => Value::Null,
                Some("only") => Value::from(parameter.values()),
                Some("refused") => parameter.schema["description"].clone(),
                Some(other) => bail!("{}: the rule {other} is not known here", parameter.name),
            };
            _ = writeln!(out, "    {}: {rule},", parameter.name);
            if let Some(limit) = limit(&parameter) {
                _ = writeln!(limits, "    {}: {limit},", parameter.name);
            }
        }
        out += "  },\n";
        limits += "  },\n";
    }
    out += "};\n\n/** Numbers: the least and the most that they may be, and whether they are whole. */\n";
    _ = write!(out, "export const NUMBERS = {{\n{limits}}};\n");
    Ok(out)
}

/// What a parameter has to be that is honored and a number.
fn limit(parameter: &Parameter) -> Option<String> {
    let schema = &parameter.schema;
    let kind = schema["type"].as_str()?;
    if parameter.rule().is_some() || !["number", "integer"].contains(&kind) {
        return None;
    }
    let named = [("least", "minimum"), ("most", "maximum")];
    let mut fields: Vec<String> = named
        .iter()
        .filter_map(|(name, keyword)| Some(format!("{name}: {}", schema.get(*keyword)?)))
        .collect();
    if kind == "integer" {
        fields.push("whole: true".to_owned());
    }
    Some(format!("{{ {} }}", fields.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_package_s_types_are_those_of_the_server_s_description() {
        for (name, text) in generated().unwrap() {
            let committed = read(&workspace::root().join(PACKAGE).join(name)).unwrap();
            assert!(
                committed == text,
                "{PACKAGE}/{name} is out of date: run `cargo xtask types`"
            );
        }
    }

    #[test]
    fn schemas_become_types() {
        for (schema, expected) in [
            (json!({"type": "integer"}), "number"),
            (json!({"type": ["string", "null"]}), "string | null"),
            (
                json!({"enum": ["a", 1, {}, ["text"]]}),
                r#""a" | 1 | Record<string, never> | ["text"]"#,
            ),
            (
                json!({"type": "array", "items": {"type": ["number", "null"]}}),
                "(number | null)[]",
            ),
            (
                json!({"type": "array", "items": {"$ref": "#/components/schemas/Tool"}}),
                "Tool[]",
            ),
            (json!({"type": "object"}), "Record<string, unknown>"),
            (
                json!({"type": "object", "properties": {"a": {"const": "x"}, "b": {"type": "string"}}, "required": ["a"]}),
                r#"{ a: "x"; b?: string }"#,
            ),
            (
                json!({"type": "object", "properties": {"a": {"description": "It.", "type": "null"}}}),
                "{\n      /** It. */\n      a?: null;\n    }",
            ),
        ] {
            assert_eq!(written(&schema, "    ").unwrap(), expected);
        }
        for unknown in [json!({"type": "text"}), json!({"$ref": "#/elsewhere"})] {
            assert!(written(&unknown, "").is_err(), "{unknown}");
        }
    }

    #[test]
    fn what_the_package_does_not_honor_is_narrowed_or_left_out() {
        let taking = |name: &str, schema: Value| {
            json!({"paths": {"/v1/completions": {"post": {"requestBody": {"content": {"application/json": {"schema":
                {"properties": {name: schema}, "required": [name]}}}}}}}})
        };
        // A parameter that is narrowed has to be there.
        let description = taking("prompt", json!({"oneOf": [{"type": "string"}]}));
        let missing = parameters_of(&description, &KINDS[1]).err().unwrap();
        assert!(missing.to_string().contains("model"), "{missing}");
        let committed: Value =
            serde_json::from_str(&read(&workspace::root().join(DESCRIPTION)).unwrap()).unwrap();
        let all = parameters_of(&committed, &KINDS[1]).unwrap();
        let of = |name: &str| all.iter().find(|p| p.name == name).unwrap();
        assert!(all[0].required && all[0].schema["oneOf"].is_null());
        assert_eq!(of("n").values(), [json!(1)]);
        assert!(!of("logprobs").is_taken() && !of("suffix").is_taken());
        assert_eq!(
            limit(of("top_k")).unwrap(),
            "{ least: -1, most: 256, whole: true }"
        );
        assert_eq!(limit(of("seed")).unwrap(), "{ whole: true }");
        assert_eq!(limit(of("n")), None);
    }
}
