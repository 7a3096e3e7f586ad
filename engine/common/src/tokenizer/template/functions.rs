//! What templates call that is not a method of a value: functions, filters, tests, and the checks
//! that [`guard`] puts into them.

use std::sync::Arc;

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, State};

use super::args::{Args, invalid};
use super::dates::{Now, strftime};
use super::guard::{self, Budget};
use super::percent::percent;
use super::values::printed;
use super::{json, numbers, python, sequences, texts};

/// A filter whose arguments have Python's names.
fn filter<R>(
    env: &mut Environment<'_>,
    budget: &Arc<Budget>,
    name: &'static str,
    run: fn(&Budget, &Value, &Args) -> Result<R, Error>,
) where
    R: Into<Value> + 'static,
{
    let b = budget.clone();
    env.add_filter(
        name,
        move |value: Value, by_place: Rest<Value>, named: Kwargs| -> Result<Value, Error> {
            Ok(run(&b, &value, &Args::new(name, by_place.0, named))?.into())
        },
    );
}

/// A filter of the engine's own that takes by name what Jinja's also takes by place.
fn by_name(
    env: &mut Environment<'_>,
    name: &'static str,
    names: &'static [&'static str],
    run: fn(&State<'_, '_>, Value, Kwargs) -> Result<Value, Error>,
) {
    env.add_filter(
        name,
        move |state: &State, value: Value, by_place: Rest<Value>, named: Kwargs| {
            let args = Args::new(name, by_place.0, named);
            let mut given: Vec<(&str, Value)> = Vec::new();
            for (place, name) in names.iter().enumerate() {
                given.extend(args.get(place, name)?.map(|value| (*name, value)));
            }
            args.end(names.len())?;
            run(state, value, given.into_iter().collect())
        },
    );
}

/// What `value` prints, as a filter of texts takes it.
fn text<R>(
    value: &Value,
    args: &Args,
    most: usize,
    run: impl FnOnce(&str) -> R,
) -> Result<R, Error> {
    args.end(most)?;
    Ok(run(&printed(value)))
}

/// Give `env` everything that templates call.
pub(super) fn add(env: &mut Environment<'_>, budget: &Arc<Budget>, now: Now) {
    globals(env, budget, now);
    filters(env, budget);
    tests(env, budget);
    checks(env, budget);
    let b = budget.clone();
    env.set_unknown_method_callback(move |_, value, name, args| {
        python::method(&b, value, name, args)
    });
}

fn globals(env: &mut Environment<'_>, budget: &Arc<Budget>, now: Now) {
    let b = budget.clone();
    env.add_function(
        "raise_exception",
        move |text: Value| -> Result<Value, Error> {
            let text = printed(&text);
            if let Ok(mut raised) = b.raised.lock() {
                *raised = Some(text.clone());
            }
            Err(invalid(text))
        },
    );
    let b = budget.clone();
    env.add_function(
        "strftime_now",
        move |format: &str| -> Result<String, Error> {
            // A code without a width gives at most 24 bytes.
            b.allow(format.len().saturating_mul(12))?;
            strftime(&b, now, format)
        },
    );
    env.add_function("joiner", |by_place: Rest<Value>, named: Kwargs| {
        sequences::joiner(&Args::new("joiner", by_place.0, named))
    });
    env.add_function("cycler", |by_place: Rest<Value>, named: Kwargs| {
        sequences::cycler(&Args::new("cycler", by_place.0, named))
    });
    env.add_function(
        "range",
        |first: isize, last: Option<isize>, step: Option<isize>| {
            // The engine's own range does not look for overflows.
            const MOST: isize = isize::MAX >> 8;
            let given = [Some(first), last, step];
            if given
                .into_iter()
                .flatten()
                .any(|n| !(-MOST..=MOST).contains(&n))
            {
                return Err(invalid(format!("`range` takes numbers up to {MOST}")));
            }
            minijinja::functions::range(first, last, step)
        },
    );
    env.remove_global("debug");
}

fn filters(env: &mut Environment<'_>, budget: &Arc<Budget>) {
    // Lists of any length, and texts of any length.
    for name in ["zip", "chain", "pprint"] {
        env.remove_filter(name);
    }
    filter(env, budget, "tojson", json::to_json);
    filter(env, budget, "join", texts::join);
    filter(env, budget, "replace", |b, value, args| {
        let part = |place, name| {
            let found: Option<Value> = args.get(place, name)?;
            let found = found.ok_or_else(|| invalid("`replace` takes two texts"))?;
            Ok::<_, Error>(printed(&found))
        };
        let (from, to) = (part(0, "old")?, part(1, "new")?);
        let count = args.integer(2, "count")?;
        args.end(3)?;
        texts::replace(b, &printed(value), &from, &to, count)
    });
    filter(env, budget, "indent", |b, value, args| {
        texts::indent(b, &printed(value), args)
    });
    filter(env, budget, "center", texts::center);
    filter(env, budget, "truncate", |b, value, args| {
        texts::truncate(b, &printed(value), args)
    });
    filter(env, budget, "wordwrap", |b, value, args| {
        texts::word_wrap(b, &printed(value), args)
    });
    filter(env, budget, "wordcount", |_, value, args| {
        text(value, args, 0, texts::word_count)
    });
    filter(env, budget, "urlencode", |b, value, args| {
        args.end(0)?;
        texts::url_encode(b, value)
    });
    filter(env, budget, "xmlattr", texts::xml_attributes);
    filter(env, budget, "trim", |_, value, args| {
        let strip = python::stripped(args.text(0, "chars")?);
        text(value, args, 1, |s| s.trim_matches(strip).to_owned())
    });
    filter(env, budget, "capitalize", |_, value, args| {
        text(value, args, 0, python::capitalized)
    });
    filter(env, budget, "string", |_, value, args| {
        text(value, args, 0, str::to_owned)
    });
    filter(env, budget, "format", |b, value, args| {
        let names = args.names();
        let values = if names.is_empty() {
            minijinja::value::Tuple::new(args.by_place().to_vec()).into()
        } else {
            let pair = |name: String| Ok((name.clone(), args.named(&name)?.unwrap_or_default()));
            let pairs = names.into_iter().map(pair);
            Value::from_pairs(pairs.collect::<Result<Vec<_>, Error>>()?)
        };
        percent(b, &printed(value), &values)
    });
    filter(env, budget, "int", |_, value, args| {
        numbers::int(value, args)
    });
    filter(env, budget, "float", |_, value, args| {
        numbers::float(value, args)
    });
    filter(env, budget, "filesizeformat", |_, value, args| {
        numbers::file_size(value, args)
    });
    for name in ["escape", "e", "forceescape"] {
        filter(env, budget, name, texts::escape);
    }
    for name in ["length", "count"] {
        filter(env, budget, name, |_, value, args| {
            args.end(0)?;
            // What is undefined is an empty list to Jinja.
            match value.is_undefined() {
                true => Ok(0),
                false => minijinja::filters::length(value),
            }
        });
    }
    for name in ["default", "d"] {
        filter(env, budget, name, |_, value, args| {
            let otherwise = args.get(0, "default_value")?;
            let falsy = args.flag(1, "boolean")? && !value.is_true();
            args.end(2)?;
            match value.is_undefined() || falsy {
                true => Ok(otherwise.unwrap_or_else(|| "".into())),
                false => Ok(value.clone()),
            }
        });
    }
    for name in ["first", "last"] {
        filter(env, budget, name, |_, value, args| {
            args.end(0)?;
            match value.is_undefined() {
                true => Ok(Value::UNDEFINED),
                false if args.of() == "first" => minijinja::filters::first(value),
                false => minijinja::filters::last(value.clone()),
            }
        });
    }
    by_name(
        env,
        "sort",
        &["reverse", "case_sensitive", "attribute"],
        minijinja::filters::sort,
    );
    by_name(
        env,
        "dictsort",
        &["case_sensitive", "by", "reverse"],
        |_, value, named| minijinja::filters::dictsort(&value, named),
    );
    by_name(
        env,
        "unique",
        &["case_sensitive", "attribute"],
        minijinja::filters::unique,
    );
    by_name(
        env,
        "min",
        &["case_sensitive", "attribute"],
        minijinja::filters::min,
    );
    by_name(
        env,
        "max",
        &["case_sensitive", "attribute"],
        minijinja::filters::max,
    );
    filter(env, budget, "sum", sequences::sum);
    filter(env, budget, "batch", sequences::batch);
    filter(env, budget, "slice", sequences::slice);
    filter(env, budget, "items", |_, value, args| {
        args.end(0)?;
        match value.kind() {
            ValueKind::Undefined => Ok(Value::from(Vec::<Value>::new())),
            ValueKind::Map => python::items(value),
            kind => Err(invalid(format!("`items` takes a dictionary, not a {kind}"))),
        }
    });
}

fn tests(env: &mut Environment<'_>, budget: &Arc<Budget>) {
    // As Python has it: a text is a sequence, None cannot be gone through. What is undefined is an
    // empty list to Jinja.
    for name in ["iterable", "sequence"] {
        env.add_test(name, |value: &Value| {
            matches!(
                value.kind(),
                ValueKind::String
                    | ValueKind::Seq
                    | ValueKind::Map
                    | ValueKind::Iterable
                    | ValueKind::Undefined
            )
        });
    }
    // `select('in', list)` goes through the list for each of its elements.
    let b = budget.clone();
    env.add_test(
        "in",
        move |state: &State, value: &Value, list: &Value| -> Result<bool, Error> {
            b.tick()?;
            minijinja::tests::is_in(state, value, list)
        },
    );
    env.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
}

fn checks(env: &mut Environment<'_>, budget: &Arc<Budget>) {
    let b = budget.clone();
    env.add_filter(
        guard::MEASURE,
        move |value: Value| -> Result<Value, Error> {
            b.measure(&value)?;
            Ok(value)
        },
    );
    let b = budget.clone();
    env.add_filter(
        guard::CONCAT,
        move |left: &Value, right: &Value| -> Result<String, Error> {
            b.allow(b.measure(left)? + b.measure(right)?)?;
            Ok(printed(left) + &printed(right))
        },
    );
    let b = budget.clone();
    env.add_filter(guard::REPEAT, move |left: &Value, right: &Value| {
        b.repeat(left, right)
    });
    let b = budget.clone();
    env.add_filter(
        guard::PERCENT,
        move |left: &Value, right: &Value| -> Result<Value, Error> {
            match left.as_str() {
                Some(text) => Ok(percent(&b, text, right)?.into()),
                None => numbers::remainder(left, right),
            }
        },
    );
    let b = budget.clone();
    env.add_filter(
        guard::SLICE,
        move |value: &Value, start: &Value, stop: &Value, step: &Value| {
            sequences::part(&b, value, [start, stop, step])
        },
    );
    let b = budget.clone();
    env.add_filter(guard::STORE, move |value: Value| -> Result<Value, Error> {
        b.store(&value)?;
        Ok(value)
    });
    let b = budget.clone();
    env.add_filter(guard::TICK, move |_: Value| -> Result<Value, Error> {
        b.tick()?;
        Ok(Value::UNDEFINED)
    });
    let b = budget.clone();
    env.set_formatter(move |out, _, value| {
        if value.is_undefined() {
            return Ok(());
        }
        b.print(b.measure(value)?)?;
        out.write_str(&printed(value))?;
        Ok(())
    });
}
