//! JSON schemas as the compiler can read them. Nothing here makes a schema accept more: what only
//! describes is left out, formats that the compiler does not have become patterns or bounds,
//! patterns that look around, which no automaton does, become others that match the same, and
//! objects whose properties are named have no others, unless the schema says so.

use serde_json::{Map, Value, json};

/// Keywords with schemas by name, with one schema, and with a list of schemas. Definitions first:
/// what refers to one is refused for the same reason.
const NAMED: [&str; 4] = ["$defs", "definitions", "properties", "patternProperties"];
const SINGLE: [&str; 7] = [
    "items",
    "additionalItems",
    "additionalProperties",
    "contains",
    "propertyNames",
    "not",
    "if",
];
const LISTED: [&str; 4] = ["prefixItems", "allOf", "anyOf", "oneOf"];

/// Keywords that say nothing of which values are valid.
const NOTES: [&str; 2] = ["deprecated", "contentSchema"];
/// Formats that say nothing of which texts are valid.
const NOTED_FORMATS: [&str; 2] = ["binary", "password"];
/// Formats of texts that the compiler has.
const FORMATS: [&str; 10] = [
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
];

/// The largest bound that the compiler counts with: the last double below 2^63.
const LARGEST: f64 = 9_223_372_036_854_774_784.0;

/// Patterns of generators that look around, and what matches the same texts without that.
const PATTERNS: [(&str, &str); 2] = [
    // pydantic's Decimal: a digit at least.
    (
        r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$",
        r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$",
    ),
    // zod's email: no dot at an end of the name, and no two in a row.
    (
        r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",
        r"^([A-Za-z0-9_'+\-]+\.)*[A-Za-z0-9_'+\-]*[A-Za-z0-9_+\-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$",
    ),
];

/// The schema, as the compiler can read it.
///
/// # Errors
/// A keyword whose value is of another kind, or a format that is not known.
pub fn readable(schema: &Value) -> Result<Value, String> {
    let mut schema = schema.clone();
    rewrite(&mut schema)?;
    if !overlaps(&schema) {
        close(&mut schema);
    }
    Ok(schema)
}

/// The schema as a part of another one, where it stands `at`: what it refers to in itself is found
/// there.
pub fn placed(schema: &Value, at: &str) -> Value {
    fn place(schema: &mut Value, at: &str) {
        let Value::Object(fields) = schema else {
            return;
        };
        if let Some(Value::String(target)) = fields.get_mut("$ref")
            && let Some(inside) = target.strip_prefix('#')
        {
            *target = format!("{at}{inside}");
        }
        for part in parts_mut(fields) {
            place(part, at);
        }
    }
    let mut schema = schema.clone();
    place(&mut schema, at);
    schema
}

/// Whether some value must be valid by several schemas at once, or by one of them alone: then a
/// schema that accepts less may leave none, or another one more.
fn overlaps(schema: &Value) -> bool {
    let several = |keyword: &str| schema[keyword].as_array().is_some_and(|all| all.len() > 1);
    let has = |keyword: &str| schema.get(keyword).is_some();
    let beside = ["$ref", "allOf", "anyOf"]
        .iter()
        .any(|keyword| has(keyword))
        && ["properties", "required"]
            .iter()
            .any(|keyword| has(keyword));
    beside
        || several("allOf")
        || several("oneOf")
        || ["not", "if", "unevaluatedProperties"]
            .iter()
            .any(|keyword| has(keyword))
        || parts(schema).iter().any(|(_, part)| overlaps(part))
}

/// Objects whose properties are named get no others: what writes them would go on inventing some,
/// small models for ever, and nobody asks for them. llama.cpp does likewise.
fn close(schema: &mut Value) {
    let Value::Object(fields) = schema else {
        return;
    };
    let open = ["additionalProperties", "patternProperties", "propertyNames"];
    if let Some(Value::Object(named)) = fields.get("properties") {
        let required = fields.get("required").and_then(Value::as_array);
        let all_named = required.is_none_or(|names| {
            (names.iter()).all(|name| name.as_str().is_some_and(|name| named.contains_key(name)))
        });
        let least = fields.get("minProperties").and_then(Value::as_u64);
        let enough = least.is_none_or(|least| least <= named.len() as u64);
        if !named.is_empty()
            && all_named
            && enough
            && !open.iter().any(|keyword| fields.contains_key(*keyword))
        {
            fields.insert("additionalProperties".to_owned(), false.into());
        }
    }
    for part in parts_mut(fields) {
        close(part);
    }
}

/// The schemas directly inside a schema.
fn parts_mut(fields: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    fields.iter_mut().flat_map(|(keyword, value)| {
        let keyword = keyword.as_str();
        // Before 2020-12 `items` might be a list.
        let listed = LISTED.contains(&keyword) || keyword == "items" && value.is_array();
        if listed || NAMED.contains(&keyword) {
            match value {
                Value::Object(parts) if !listed => parts.values_mut().collect(),
                Value::Array(parts) if listed => parts.iter_mut().collect(),
                _ => Vec::new(),
            }
        } else {
            Vec::from_iter(SINGLE.contains(&keyword).then_some(value))
        }
    })
}

fn rewrite(schema: &mut Value) -> Result<(), String> {
    let Value::Object(fields) = schema else {
        return Ok(());
    };
    check_kinds(fields)?;
    narrow(fields)?;
    for name in NOTES {
        fields.shift_remove(name);
    }
    let pattern = fields.get_mut("pattern");
    if let Some(Value::String(pattern)) = pattern
        && let Some((_, same)) = PATTERNS.iter().find(|(known, _)| known == pattern)
    {
        *pattern = (*same).to_owned();
    }
    if let Some(also) = format(fields)? {
        fields.shift_remove("format");
        if !also.is_null() {
            let all = fields.entry("allOf").or_insert_with(|| json!([]));
            if let Some(all) = all.as_array_mut() {
                all.push(also);
            }
        }
    }
    parts_mut(fields).try_for_each(rewrite)?;
    Ok(())
}

/// What takes the place of a format, if anything has to: null for nothing.
fn format(fields: &Map<String, Value>) -> Result<Option<Value>, String> {
    let Some(format) = fields.get("format").and_then(Value::as_str) else {
        return Ok(None);
    };
    let may_be = |kind: &str| match fields.get("type") {
        None => true,
        Some(Value::Array(kinds)) => kinds.iter().any(|other| other == kind),
        Some(other) => other == kind,
    };
    if may_be("integer") || may_be("number") {
        let bounds = match format {
            "int32" => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
            "int64" => Some((-LARGEST, LARGEST)),
            _ => None,
        };
        if let Some((least, most)) = bounds {
            return Ok(Some(json!({ "minimum": least, "maximum": most })));
        }
    }
    if !may_be("string") || FORMATS.contains(&format) {
        return Ok(None);
    }
    if NOTED_FORMATS.contains(&format) {
        return Ok(Some(Value::Null));
    }
    match format
        .strip_prefix("uuid")
        .and_then(|n| n.parse::<u8>().ok())
    {
        Some(version @ 1..=8) => {
            let hex = "[0-9a-fA-F]";
            let pattern = format!(
                "^{hex}{{8}}-{hex}{{4}}-{version}{hex}{{3}}-[89abAB]{hex}{{3}}-{hex}{{12}}$"
            );
            Ok(Some(json!({ "pattern": pattern })))
        }
        _ => Err(format!(
            "the format `{format}` is not supported; expected {}: give a `pattern`, or leave `format` out",
            FORMATS.join(", ")
        )),
    }
}

/// The compiler shortens values of other kinds for its messages, between the bytes of a character
/// if need be, which ends it.
fn check_kinds(fields: &Map<String, Value>) -> Result<(), String> {
    let check = |names: &[&str], expected: &str, fits: fn(&Value) -> bool| {
        let given = names
            .iter()
            .filter_map(|name| Some((name, fields.get(*name)?)));
        match given.into_iter().find(|(_, value)| !fits(value)) {
            None => Ok(()),
            Some((name, _)) => Err(format!("`{name}` must be {expected}")),
        }
    };
    check(
        &["minimum", "maximum", "multipleOf"],
        "a number",
        Value::is_number,
    )?;
    check(
        &["exclusiveMinimum", "exclusiveMaximum"],
        "a number",
        |value| value.is_number() || value.is_boolean(),
    )?;
    check(&["pattern", "format", "$ref"], "a text", Value::is_string)
}

/// Bounds beyond what the compiler counts with come nearer, where that accepts no more.
fn narrow(fields: &mut Map<String, Value>) -> Result<(), String> {
    for (name, sign) in [
        ("minimum", -1.0),
        ("exclusiveMinimum", -1.0),
        ("maximum", 1.0),
        ("exclusiveMaximum", 1.0),
    ] {
        let Some(bound) = fields.get(name).and_then(Value::as_f64) else {
            continue;
        };
        if bound * sign > LARGEST {
            fields.insert(name.to_owned(), (sign * LARGEST).into());
        } else if bound * sign < -LARGEST {
            return Err(format!(
                "`{name}` is {bound:e}; expected a number from -{LARGEST} to {LARGEST}"
            ));
        }
    }
    Ok(())
}

/// What the compiler says of a schema, in words for whoever wrote it.
pub fn explained(problem: String) -> String {
    let after = |start: &str| problem.strip_prefix(start).map(str::trim);
    let keywords = after("Unimplemented keys: ")
        .and_then(|list| serde_json::from_str::<Vec<String>>(list).ok());
    if let Some(keywords) = keywords {
        return format!(
            "`{}` is not supported: leave it out, and check replies for it",
            keywords.join("`, `")
        );
    }
    if let Some(kind) = after("Invalid type: ") {
        return format!(
            "the type `{kind}` is not known; expected null, boolean, number, integer, string, array or object"
        );
    }
    if after("oneOf constraints are not supported").is_some() {
        return "`oneOf` is not supported where two of its schemas may accept the same value: use `anyOf`".to_owned();
    }
    if let Some((_, reference)) = problem.split_once("without 'referencing' feature; ref ") {
        return format!(
            "`$ref` leads to {reference}; expected a place in the schema itself, #/…: put it under `$defs`"
        );
    }
    if after("regex parse error:").is_some() {
        return format!("`pattern` cannot be used: {problem}");
    }
    match after("panic: ").map(|what| what.lines().next().unwrap_or_default()) {
        Some(what) => format!("what compiles it fails ({what}): leave out what is unusual in it"),
        None => problem,
    }
}

/// The schemas directly inside a schema, with the step of a JSON pointer that leads to each.
pub fn parts(schema: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
    for keyword in NAMED {
        let named = schema[keyword].as_object().into_iter().flatten();
        found.extend(named.map(|(name, part)| (format!("{keyword}/{}", escaped(name)), part)));
    }
    for keyword in SINGLE {
        if schema[keyword].is_object() {
            found.push((keyword.to_owned(), &schema[keyword]));
        }
    }
    for keyword in LISTED.into_iter().chain(["items"]) {
        let listed = schema[keyword].as_array().into_iter().flatten();
        found.extend(
            (0..)
                .zip(listed)
                .map(|(i, part)| (format!("{keyword}/{i}"), part)),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_describes_is_left_out_and_what_says_something_stays() {
        for (schema, expected) in [
            (
                json!({"type": "string", "format": "password", "deprecated": true}),
                json!({"type": "string"}),
            ),
            (
                json!({"type": "string", "format": "date"}),
                json!({"type": "string", "format": "date"}),
            ),
            (
                json!({"type": "number", "format": "double"}),
                json!({"type": "number", "format": "double"}),
            ),
            // Names and values are no keywords.
            (
                json!({"properties": {"format": {"const": {"format": "x"}}}, "default": {"deprecated": 1}}),
                json!({"properties": {"format": {"const": {"format": "x"}}}, "default": {"deprecated": 1},
                       "additionalProperties": false}),
            ),
            (json!({"items": true}), json!({"items": true})),
        ] {
            assert_eq!(readable(&schema).unwrap(), expected);
        }
        let bounded = json!({"items": [{"type": "integer", "format": "int32", "minimum": 0}]});
        let bounds = json!([{"minimum": -2_147_483_648.0, "maximum": 2_147_483_647.0}]);
        assert_eq!(readable(&bounded).unwrap()["items"][0]["allOf"], bounds);
        let uuid =
            json!({"anyOf": [{"type": "string", "format": "uuid4", "allOf": [{"maxLength": 36}]}]});
        let all = &readable(&uuid).unwrap()["anyOf"][0]["allOf"];
        assert_eq!(all[0], json!({"maxLength": 36}));
        assert!(
            all[1]["pattern"]
                .as_str()
                .unwrap()
                .contains("-4[0-9a-fA-F]{3}-")
        );
    }

    #[test]
    fn objects_have_no_properties_but_those_named() {
        let dog = |more: Value| {
            let mut dog = json!({"type": "object", "properties": {"name": {"type": "string"}}});
            if let (Value::Object(dog), Value::Object(more)) = (&mut dog, more) {
                dog.extend(more);
            }
            dog
        };
        let closed = dog(json!({"additionalProperties": false}));
        let inside = |dog: &Value| json!({"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/dog"}, {"type": "null"}]}, "$defs": {"dog": dog}});
        for (schema, expected) in [
            (dog(json!({})), closed.clone()),
            (inside(&dog(json!({}))), inside(&closed)),
            (
                json!({"properties": {"a": dog(json!({}))}, "additionalProperties": true}),
                json!({"properties": {"a": closed}, "additionalProperties": true}),
            ),
        ] {
            assert_eq!(readable(&schema).unwrap(), expected);
        }
        // Where a schema says something of others, or where values must be valid by several
        // schemas, or by one alone.
        for open in [
            json!({"type": "object"}),
            json!({"type": "object", "properties": {}}),
            dog(json!({"additionalProperties": true})),
            dog(json!({"additionalProperties": {"type": "number"}})),
            dog(json!({"patternProperties": {"^x": {"type": "number"}}})),
            dog(json!({"required": ["name", "age"]})),
            dog(json!({"minProperties": 2})),
            dog(json!({"allOf": [{"properties": {"age": {"type": "number"}}}]})),
            json!({"allOf": [dog(json!({})), {"properties": {"age": {"type": "number"}}}]}),
            json!({"oneOf": [dog(json!({"required": ["name"]})), {"type": "number"}]}),
            json!({"items": dog(json!({"$ref": "#/$defs/more"})), "$defs": {"more": dog(json!({}))}}),
        ] {
            assert_eq!(readable(&open).unwrap(), open);
        }
    }

    #[test]
    fn keywords_of_other_kinds_and_unknown_formats_are_named() {
        let long = "ü".repeat(99);
        for (schema, words) in [
            (
                json!({"type": "integer", "minimum": long}),
                "`minimum` must be a number",
            ),
            (json!({"exclusiveMaximum": [long]}), "`exclusiveMaximum`"),
            (
                json!({"$defs": {"a": {"pattern": {"a": long}}}}),
                "`pattern` must be a text",
            ),
            (json!({"not": {"$ref": 5}}), "`$ref`"),
            (json!({"format": "poem"}), "the format `poem`"),
            (
                json!({"type": "string", "format": "uuid9"}),
                "expected date-time, time",
            ),
        ] {
            let problem = readable(&schema).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
        let said = explained("Unimplemented keys: [\"if\", \"then\"]".to_owned());
        assert!(said.starts_with("`if`, `then` is not supported"), "{said}");
        for (problem, words) in [
            ("Invalid type: str", "`str` is not known; expected null"),
            (
                "panic: attempt to negate\n<backtrace>\n 0: x",
                "fails (attempt to negate):",
            ),
            (
                "regex parse error:\n ^(?=a)",
                "`pattern` cannot be used: regex",
            ),
        ] {
            let said = explained(problem.to_owned());
            assert!(
                said.contains(words) && !said.contains("backtrace"),
                "{said}"
            );
        }
        assert_eq!(explained("Other".to_owned()), "Other");
    }

    #[test]
    fn bounds_stay_where_the_compiler_can_count() {
        let bounded = json!({"minimum": -1e30, "exclusiveMaximum": 9_223_372_036_854_775_807_u64});
        let expected = json!({"minimum": -LARGEST, "exclusiveMaximum": LARGEST});
        assert_eq!(readable(&bounded).unwrap(), expected);
        let small = json!({"minimum": -5, "maximum": 7.5, "exclusiveMinimum": true});
        assert_eq!(readable(&small).unwrap(), small);
        let problem = readable(&json!({"items": {"minimum": 1e19}})).unwrap_err();
        assert!(problem.contains("`minimum` is 1e19"), "{problem}");
    }
}
