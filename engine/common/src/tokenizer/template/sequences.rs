//! Filters of lists (`sum`, `batch`, `slice`), and the helpers of loops: `joiner`, `cycler`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Object, Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::args::{Args, invalid};
use super::guard::Budget;
use super::values::Number;

/// `element.a.b` for the path `a.b`; numbers are places in lists.
pub(super) fn attribute(element: &Value, path: &Value) -> Result<Value, Error> {
    let Some(path) = path.as_str() else {
        return element.get_item(path);
    };
    path.split('.')
        .try_fold(element.clone(), |value, key| match key.parse::<usize>() {
            Ok(place) => value.get_item_by_index(place),
            Err(_) => value.get_attr(key),
        })
}

/// All elements, if they are not too many.
fn elements(budget: &Budget, value: &Value) -> Result<Vec<Value>, Error> {
    budget.measure(value)?;
    let mut out = Vec::new();
    for element in value.try_iter()? {
        budget.count(out.len() + 1)?;
        out.push(element);
    }
    Ok(out)
}

/// `value[start:stop:step]`, as Python has it.
pub(super) fn part(
    budget: &Budget,
    value: &Value,
    [start, stop, step]: [&Value; 3],
) -> Result<Value, Error> {
    // Jinja takes what is no place as if the slice were not there.
    let bounds = [start, stop, step].map(|n| match n.kind() {
        ValueKind::None | ValueKind::Undefined => Some(None),
        _ => i64::try_from(n.clone()).ok().map(Some),
    });
    let [Some(start), Some(stop), Some(step)] = bounds else {
        return Ok(Value::UNDEFINED);
    };
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(invalid("a slice has a step of 0"));
    }
    if let Some(text) = value.as_str() {
        let chars: Vec<char> = text.chars().collect();
        let places = places(chars.len(), start, stop, step);
        return Ok(places.map(|at| chars[at]).collect::<String>().into());
    }
    let items = match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => elements(budget, value)?,
        // As an empty list, if something asks for its slice.
        ValueKind::Undefined => Vec::new(),
        _ => return Ok(Value::UNDEFINED),
    };
    let places = places(items.len(), start, stop, step);
    let found: Vec<Value> = places.map(|at| items[at].clone()).collect();
    Ok(if value.is_tuple() {
        Value::from(Tuple::new(found))
    } else {
        found.into()
    })
}

/// Places in a list of `length`, one after the other by `step`.
fn places(
    length: usize,
    start: Option<i64>,
    stop: Option<i64>,
    step: i64,
) -> impl Iterator<Item = usize> {
    let (length, step) = (length as i128, i128::from(step));
    let forwards = step > 0;
    // The least and the largest place that a bound stands for.
    let (low, high) = if forwards {
        (0, length)
    } else {
        (-1, length - 1)
    };
    let place = |n: Option<i64>, otherwise: i128| match n.map(i128::from) {
        None => otherwise,
        Some(n) if n < 0 => (n + length).clamp(low, high),
        Some(n) => n.clamp(low, high),
    };
    let (first, last) = if forwards { (low, high) } else { (high, low) };
    let (start, stop) = (place(start, first), place(stop, last));
    let more = move |at: &i128| if forwards { *at < stop } else { *at > stop };
    std::iter::successors(Some(start), move |at| Some(at + step))
        .take_while(more)
        .filter_map(|at| usize::try_from(at).ok())
}

/// `sum(attribute=none, start=0)`: of numbers, or of lists.
pub(super) fn sum(budget: &Budget, value: &Value, args: &Args) -> Result<Value, Error> {
    let path = args.some(0, "attribute")?;
    let start = args.get(1, "start")?.unwrap_or_else(|| 0.into());
    args.end(2)?;
    let mut list = None;
    if matches!(start.kind(), ValueKind::Seq | ValueKind::Iterable) {
        list = Some(elements(budget, &start)?);
    }
    let mut total = Number::of(&start);
    let mut bytes = budget.measure(&start)?;
    for element in elements(budget, value)? {
        let element = match &path {
            Some(path) => attribute(&element, path)?,
            None => element,
        };
        let wrong = || invalid(format!("`sum` cannot add a {}", element.kind()));
        if let Some(list) = &mut list {
            if !matches!(element.kind(), ValueKind::Seq | ValueKind::Iterable) {
                return Err(wrong());
            }
            bytes += budget.measure(&element)?;
            budget.allow(bytes)?;
            list.extend(elements(budget, &element)?);
            budget.count(list.len())?;
            continue;
        }
        let (a, b) = (
            total.ok_or_else(wrong)?,
            Number::of(&element).ok_or_else(wrong)?,
        );
        total = Some(match (a, b) {
            (Number::Int(a), Number::Int(b)) => Number::Int(
                a.checked_add(b)
                    .ok_or_else(|| invalid("`sum` is too large"))?,
            ),
            (a, b) => Number::Float(a.float() + b.float()),
        });
    }
    Ok(match (list, total) {
        (Some(list), _) if start.is_tuple() => Value::from(Tuple::new(list)),
        (Some(list), _) => list.into(),
        (None, Some(total)) => total.into(),
        (None, None) => start,
    })
}

/// `batch(linecount, fill_with=none)`: rows of so many.
pub(super) fn batch(budget: &Budget, value: &Value, args: &Args) -> Result<Value, Error> {
    let length = args
        .integer(0, "linecount")?
        .ok_or_else(|| invalid("`batch` takes a number"))?;
    let fill = args.some(1, "fill_with")?;
    args.end(2)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (mut rows, mut row) = (Vec::new(), Vec::new());
    for element in elements(budget, value)? {
        if row.len() == length {
            rows.push(Value::from(std::mem::take(&mut row)));
        }
        row.push(element);
    }
    if !row.is_empty() {
        if let Some(fill) = fill.filter(|_| row.len() < length) {
            budget.count(length)?;
            budget.allow(budget.measure(&fill)?.saturating_mul(length))?;
            row.resize(length, fill);
        }
        rows.push(Value::from(row));
    }
    Ok(rows.into())
}

/// `slice(slices, fill_with=none)`: so many columns.
pub(super) fn slice(budget: &Budget, value: &Value, args: &Args) -> Result<Value, Error> {
    let count = args
        .integer(0, "slices")?
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| invalid("`slice` takes a number from 1"))?;
    let fill = args.some(1, "fill_with")?;
    args.end(2)?;
    budget.count(count)?;
    if let Some(fill) = &fill {
        budget.allow(budget.measure(fill)?.saturating_mul(count))?;
    }
    let elements = elements(budget, value)?;
    let (each, longer) = (elements.len() / count, elements.len() % count);
    let mut rest = elements.into_iter();
    let mut columns = Vec::new();
    for i in 0..count {
        let length = each + usize::from(i < longer);
        let mut column: Vec<Value> = rest.by_ref().take(length).collect();
        if i >= longer {
            column.extend(fill.clone());
        }
        columns.push(Value::from(column));
    }
    Ok(columns.into())
}

/// `joiner(sep)`: nothing at first, then the separator.
#[derive(Debug)]
struct Joiner {
    between: String,
    calls: AtomicUsize,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> minijinja::value::ObjectRepr {
        minijinja::value::ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        if !args.is_empty() {
            return Err(invalid("a joiner takes no arguments"));
        }
        let first = self.calls.fetch_add(1, Ordering::Relaxed) == 0;
        Ok(if first { "" } else { self.between.as_str() }.into())
    }
}

/// Bytes that a joiner or a cycler may hold: nothing measures them again.
const MAX_HELD: usize = 256;

pub(super) fn joiner(args: &Args) -> Result<Value, Error> {
    let between = args.text(0, "sep")?.unwrap_or_else(|| ", ".into());
    args.end(1)?;
    if between.len() > MAX_HELD {
        return Err(invalid(format!("`joiner` takes at most {MAX_HELD} bytes")));
    }
    Ok(Value::from_object(Joiner {
        between,
        calls: AtomicUsize::new(0),
    }))
}

/// `cycler(a, b)`: one after the other.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

impl Cycler {
    fn current(&self) -> Value {
        self.items[self.at.load(Ordering::Relaxed) % self.items.len()].clone()
    }
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> minijinja::value::ObjectRepr {
        minijinja::value::ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current")).then(|| self.current())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        name: &str,
        _: &[Value],
    ) -> Result<Value, Error> {
        match name {
            "next" => {
                let current = self.current();
                self.at.fetch_add(1, Ordering::Relaxed);
                Ok(current)
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(().into())
            }
            _ => Err(Error::new(
                ErrorKind::UnknownMethod,
                format!("a cycler has no method `{name}`"),
            )),
        }
    }
}

/// Of texts and numbers only: what a cycler holds must not hold the cycler.
pub(super) fn cycler(args: &Args) -> Result<Value, Error> {
    let items = args.by_place().to_vec();
    args.end(usize::MAX)?;
    let plain = |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::String | ValueKind::Number | ValueKind::Bool | ValueKind::None
        )
    };
    if items.is_empty() || !items.iter().all(plain) {
        return Err(invalid("`cycler` takes texts and numbers, one at least"));
    }
    let bytes: usize = items
        .iter()
        .map(|item| 8 + item.as_str().map_or(0, str::len))
        .sum();
    if bytes > MAX_HELD {
        return Err(invalid(format!("`cycler` takes at most {MAX_HELD} bytes")));
    }
    Ok(Value::from_object(Cycler {
        items,
        at: AtomicUsize::new(0),
    }))
}
