//! The methods of Python's strings and dictionaries that published chat templates call.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

pub(super) fn method(
    _: &mut State,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => string(value.as_str().unwrap_or_default(), name, args),
        ValueKind::Map => map(value, name, args),
        _ => Err(unknown(name)),
    }
}

fn unknown(name: &str) -> Error {
    Error::new(
        ErrorKind::UnknownMethod,
        format!("there is no method `{name}`"),
    )
}

fn text(args: &[Value], i: usize, name: &str) -> Result<String, Error> {
    let arg = args.get(i).and_then(|v| v.as_str());
    let message = || format!("`{name}` takes a text as argument {}", i + 1);
    arg.map(str::to_owned)
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, message()))
}

fn string(s: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    // Characters to strip; white space without an argument.
    let stripped = args.first().and_then(|v| v.as_str()).map(str::to_owned);
    let strip = |c: char| {
        stripped
            .as_ref()
            .map_or(c.is_whitespace(), |set| set.contains(c))
    };
    Ok(match name {
        "strip" => s.trim_matches(strip).into(),
        "lstrip" => s.trim_start_matches(strip).into(),
        "rstrip" => s.trim_end_matches(strip).into(),
        "startswith" => s.starts_with(&text(args, 0, name)?).into(),
        "endswith" => s.ends_with(&text(args, 0, name)?).into(),
        "upper" => s.to_uppercase().into(),
        "lower" => s.to_lowercase().into(),
        "replace" => s
            .replace(&text(args, 0, name)?, &text(args, 1, name)?)
            .into(),
        "split" if args.is_empty() => s.split_whitespace().map(Value::from).collect(),
        "split" => s.split(&text(args, 0, name)?).map(Value::from).collect(),
        _ => return Err(unknown(name)),
    })
}

fn map(value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let keys = || value.try_iter();
    Ok(match name {
        "get" => {
            let found = value.get_item(args.first().unwrap_or(&Value::UNDEFINED))?;
            match args.get(1) {
                _ if !found.is_undefined() => found,
                Some(default) => default.clone(),
                None => Value::from(()),
            }
        }
        "keys" => keys()?.collect(),
        "values" => keys()?
            .map(|k| value.get_item(&k))
            .collect::<Result<_, _>>()?,
        "items" => keys()?
            .map(|k| Ok(Value::from(vec![k.clone(), value.get_item(&k)?])))
            .collect::<Result<_, Error>>()?,
        _ => return Err(unknown(name)),
    })
}
