//! The parameters of a request. What an endpoint takes stands in a table, from which the OpenAPI
//! description is made, too; whatever is not in it, or has a value that this server does not honor,
//! is refused by name. A parameter that is null counts as absent.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// What becomes of a parameter.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// It is honored.
    Used,
    /// It changes nothing here.
    Ignored,
    /// As that, with one of these values (a JSON list); another is refused.
    Only(&'static str),
    /// It is refused, because.
    Refused(&'static str),
}

/// A parameter of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub rule: Rule,
    /// Its JSON schema.
    pub schema: &'static str,
    /// A value that is accepted, in JSON.
    pub sample: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// A parameter that is honored.
pub const fn used(
    name: &'static str,
    schema: &'static str,
    sample: &'static str,
    about: &'static str,
) -> Parameter {
    Parameter {
        name,
        rule: Rule::Used,
        schema,
        sample,
        about,
    }
}

/// One that changes nothing here.
pub const fn ignored(name: &'static str, schema: &'static str, sample: &'static str) -> Parameter {
    Parameter {
        name,
        rule: Rule::Ignored,
        schema,
        sample,
        about: "Accepted; changes nothing.",
    }
}

/// One that is accepted with some values that change nothing.
pub const fn only(name: &'static str, values: &'static str, about: &'static str) -> Parameter {
    Parameter {
        name,
        rule: Rule::Only(values),
        schema: "{}",
        sample: "null",
        about,
    }
}

/// One that is known and not honored.
pub const fn refused(name: &'static str, why: &'static str) -> Parameter {
    Parameter {
        name,
        rule: Rule::Refused(why),
        schema: "{}",
        sample: "null",
        about: why,
    }
}

pub const TEXT: &str = r#"{"type":"string"}"#;
pub const FLAG: &str = r#"{"type":"boolean"}"#;
pub const NUMBER: &str = r#"{"type":"number"}"#;
pub const COUNT: &str = r#"{"type":"integer","minimum":0}"#;
pub const OBJECT: &str = r#"{"type":"object"}"#;
pub const LIST: &str = r#"{"type":"array","items":{}}"#;

/// Tables that an endpoint's parameters stand in.
pub type Tables = &'static [&'static [Parameter]];

/// The parameters of a request, taken out one by one.
#[derive(Debug)]
pub struct Fields {
    values: Map<String, Value>,
    /// Where they stand: "" or `messages[3].`.
    within: String,
}

impl Fields {
    /// The parameters of a body.
    pub fn of_body(value: Value, tables: Tables) -> Result<Self, Refusal> {
        let Value::Object(mut values) = value else {
            return Err(Refusal::body(format!(
                "the body must be a JSON object, not {}",
                kind(&value)
            )));
        };
        values.retain(|_, value| !value.is_null());
        let mut kept = Map::new();
        for (name, value) in values {
            let mut all = tables.iter().copied().flatten();
            let Some(parameter) = all.find(|parameter| parameter.name == name) else {
                return Err(unknown(&name));
            };
            match parameter.rule {
                Rule::Used => {
                    kept.insert(name, value);
                }
                Rule::Ignored => {}
                Rule::Refused(why) => return Err(Refusal::unsupported(name, why)),
                Rule::Only(values) => {
                    let accepted: Vec<Value> = serde_json::from_str(values).unwrap_or_default();
                    let value = without_nulls(value);
                    if !accepted.contains(&value) {
                        let list: Vec<String> = accepted.iter().map(Value::to_string).collect();
                        // Settings have short values, which say more than their kind.
                        let found = Some(value.to_string()).filter(|text| text.len() <= 100);
                        let why = format!(
                            "{} is not supported; leave it out or give {}",
                            found.unwrap_or_else(|| short(&value)),
                            list.join(" or ")
                        );
                        return Err(Refusal::unsupported(name, why));
                    }
                }
            }
        }
        Ok(Fields {
            values: kept,
            within: String::new(),
        })
    }

    /// An object inside a body, called `at`, whose keys are asked for one by one; `end` refuses the
    /// others.
    pub fn nested(value: Value, at: &str) -> Result<Self, Refusal> {
        let Value::Object(mut values) = value else {
            return Err(wrong(at, "an object", &value));
        };
        values.retain(|_, value| !value.is_null());
        Ok(Fields {
            values,
            within: format!("{at}."),
        })
    }

    /// Refuse what nobody asked for.
    pub fn end(self) -> Result<(), Refusal> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(name) => Err(unknown(&self.at(name))),
        }
    }

    /// What a parameter is called in messages.
    pub fn at(&self, name: &str) -> String {
        format!("{}{name}", self.within)
    }

    pub fn value(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name)
    }

    /// One that must be there.
    pub fn needed(&mut self, name: &str) -> Result<Value, Refusal> {
        let missing = || Refusal {
            code: Some("missing_required_parameter"),
            ..Refusal::invalid(self.at(name), "it is required")
        };
        self.values.get(name).ok_or_else(missing)?;
        Ok(self.values.remove(name).unwrap_or_default())
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.values.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(&self.at(name), "a string", &other)),
        }
    }

    pub fn needed_text(&mut self, name: &str) -> Result<String, Refusal> {
        let value = self.needed(name)?;
        self.values.insert(name.to_owned(), value);
        Ok(self.text(name)?.unwrap_or_default())
    }

    pub fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        self.flag_or(name, false)
    }

    /// The same with another default than false.
    pub fn flag_or(&mut self, name: &str, default: bool) -> Result<bool, Refusal> {
        match self.values.remove(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(wrong(&self.at(name), "true or false", &other)),
        }
    }

    pub fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f32>, Refusal> {
        let Some(value) = self.values.remove(name) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) if range.contains(&number) => Ok(Some(number as f32)),
            _ => {
                let expected = format!("a number from {} to {}", range.start(), range.end());
                Err(wrong(&self.at(name), &expected, &value))
            }
        }
    }

    pub fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.values.remove(name) else {
            return Ok(None);
        };
        // JSON Schema has 12.0 and 1e1 for integers, too.
        let whole = |number: f64| number.fract() == 0.0 && number.abs() < 2f64.powi(53);
        let float = || value.as_f64().filter(|number| whole(*number));
        match value
            .as_i64()
            .or_else(|| float().map(|number| number as i64))
        {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            None if value.is_u64() && *range.end() == i64::MAX => Ok(Some(i64::MAX)),
            _ => {
                let expected = match *range.end() == i64::MAX {
                    true => format!("a whole number of at least {}", range.start()),
                    false => format!("a whole number from {} to {}", range.start(), range.end()),
                };
                Err(wrong(&self.at(name), &expected, &value))
            }
        }
    }

    pub fn count(&mut self, name: &str, least: i64) -> Result<Option<usize>, Refusal> {
        let count = self.integer(name, least..=i64::MAX)?;
        Ok(count.map(|count| usize::try_from(count).unwrap_or(usize::MAX)))
    }

    pub fn needed_count(&mut self, name: &str, least: i64) -> Result<usize, Refusal> {
        let value = self.needed(name)?;
        self.values.insert(name.to_owned(), value);
        Ok(self.count(name, least)?.unwrap_or_default())
    }

    pub fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, Refusal> {
        match self.values.remove(name) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(other) => Err(wrong(&self.at(name), "a list", &other)),
        }
    }

    pub fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, Refusal> {
        match self.values.remove(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(wrong(&self.at(name), "an object", &other)),
        }
    }

    /// A text or a list of texts.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        let at = self.at(name);
        match self.values.remove(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(values)) => values
                .into_iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text),
                    other => Err(wrong(&at, "a list of strings", &other)),
                })
                .collect(),
            Some(other) => Err(wrong(&at, "a string or a list of strings", &other)),
        }
    }
}

/// A value whose parts that are null are absent.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, part| !part.is_null());
    }
    value
}

fn unknown(name: &str) -> Refusal {
    Refusal {
        code: Some("unknown_parameter"),
        ..Refusal::invalid(name, "unknown parameter")
    }
}

/// A parameter of another kind than it must have.
pub fn wrong(at: &str, expected: &str, found: &Value) -> Refusal {
    Refusal::invalid(at, format!("expected {expected}, found {}", short(found)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value for a message: texts of requests are not repeated.
fn short(value: &Value) -> String {
    match value {
        Value::Bool(_) | Value::Number(_) | Value::Null => value.to_string(),
        Value::String(text) if text.chars().count() <= 40 => value.to_string(),
        other => kind(other).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: Tables = &[&[
        used("n", COUNT, "1", ""),
        used("text", TEXT, "\"x\"", ""),
        ignored("user", TEXT, "\"x\""),
        only("store", "[false]", ""),
        only("reasoning", "[{}]", ""),
        refused("audio", "there is no sound here"),
    ]];

    fn refusal(body: Value) -> Refusal {
        Fields::of_body(body, TABLE).unwrap_err()
    }

    #[test]
    fn a_parameter_is_known_or_refused_by_name() {
        let fields = |body| Fields::of_body(body, TABLE).unwrap();
        let mut some = fields(json!({"n": 2, "text": null, "user": 7, "store": false}));
        assert_eq!(some.count("n", 1).unwrap(), Some(2));
        assert_eq!(some.text("text").unwrap(), None);
        some.end().unwrap();
        let nulls = json!({"reasoning": {"effort": null, "summary": null}});
        fields(nulls).end().unwrap();
        let message = refusal(json!({"reasoning": {"effort": "low", "summary": null}})).message;
        assert_eq!(
            message,
            r#"`reasoning`: {"effort":"low"} is not supported; leave it out or give {}"#
        );
        for (body, name) in [
            (json!({"m": 1}), "m"),
            (json!({"store": true}), "store"),
            (json!({"audio": {}}), "audio"),
        ] {
            let refusal = refusal(body);
            assert_eq!(refusal.param.as_deref(), Some(name));
            assert!(refusal.message.contains(name), "{}", refusal.message);
        }
        assert!(refusal(json!([1])).message.contains("a list"));
        let e = fields(json!({"n": -1})).count("n", 0).unwrap_err();
        assert_eq!(
            e.message,
            "`n`: expected a whole number of at least 0, found -1"
        );
        let e = fields(json!({"n": 1.5})).count("n", 0).unwrap_err();
        assert!(e.message.contains("1.5"));
        let e = fields(json!({})).needed_text("text").unwrap_err();
        assert_eq!(e.code, Some("missing_required_parameter"));
        let mut inner = Fields::nested(json!({"a": 1, "b": 2}), "messages[3]").unwrap();
        inner.value("a");
        assert_eq!(
            inner.end().unwrap_err().param.as_deref(),
            Some("messages[3].b")
        );
    }
}
