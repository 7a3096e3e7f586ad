//! `'{:>5}'.format(x)`.

use minijinja::Error;
use minijinja::value::Value;

use super::args::{Args, invalid};
use super::guard::Budget;
use super::spec::Spec;
use super::values::{self, printed, represented};

/// The values of `str.format`.
struct Fields<'a> {
    args: &'a Args,
    /// The place of the next `{}`; none after a place was named.
    next: Option<usize>,
}

impl Fields<'_> {
    fn value(&mut self, field: &str) -> Result<Value, Error> {
        let missing = || invalid(format!("`format` has no value for `{{{field}}}`"));
        let end = field.find(['.', '[']).unwrap_or(field.len());
        let (name, mut path) = field.split_at(end);
        let by_place = |i: usize| self.args.by_place().get(i).cloned();
        let mut value = if name.is_empty() {
            let Some(next) = self.next else {
                return Err(invalid("`format` has both `{}` and `{0}`"));
            };
            self.next = Some(next + 1);
            by_place(next)
        } else if let Ok(i) = name.parse() {
            if self.next.is_some_and(|next| next > 0) {
                return Err(invalid("`format` has both `{}` and `{0}`"));
            }
            self.next = None;
            by_place(i)
        } else {
            self.args.named(name)?
        }
        .ok_or_else(missing)?;
        while !path.is_empty() {
            let (key, after) = if let Some(rest) = path.strip_prefix('[') {
                rest.split_once(']').ok_or_else(missing)?
            } else {
                let rest = path.strip_prefix('.').ok_or_else(missing)?;
                rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()))
            };
            value = match key.parse::<usize>() {
                Ok(i) => value.get_item(&i.into())?,
                Err(_) => value.get_item(&key.into())?,
            };
            if value.is_undefined() {
                return Err(missing());
            }
            path = after;
        }
        Ok(value)
    }

    /// `inner` is what stands inside a format: `{:{width}}`.
    fn write(&mut self, budget: &Budget, text: &str, inner: bool) -> Result<String, Error> {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            out += before;
            if let Some(after) = brace.strip_prefix("{{").or(brace.strip_prefix("}}")) {
                out.push_str(&brace[..1]);
                rest = after;
                continue;
            }
            if brace.starts_with('}') {
                return Err(invalid("`format` has a single `}`"));
            }
            let mut depth = 0;
            let end = brace.char_indices().find(|(_, c)| {
                depth += match c {
                    '{' => 1,
                    '}' => -1,
                    _ => 0,
                };
                depth == 0
            });
            let (end, _) = end.ok_or_else(|| invalid("`format` has a single `{`"))?;
            rest = &brace[end + 1..];
            let field = &brace[1..end];
            let (field, spec) = field.split_once(':').unwrap_or((field, ""));
            let (field, conversion) = field.split_once('!').unwrap_or((field, ""));
            let value = self.value(field)?;
            budget.allow(out.len() + rest.len() + budget.measure(&value)?)?;
            let value = match conversion {
                "" => value,
                "s" => printed(&value).into(),
                "r" => represented(&value).into(),
                "a" => values::ascii(&value).into(),
                _ => return Err(invalid(format!("`format` knows no `!{conversion}`"))),
            };
            let spec = match spec.contains('{') {
                true if inner => return Err(invalid("`format` is nested too deep")),
                true => self.write(budget, spec, true)?,
                false => spec.to_owned(),
            };
            let written = match spec.as_str() {
                "" => printed(&value),
                spec => Spec::parse(spec)?.write(budget, &value)?,
            };
            budget.allow(out.len() + rest.len() + written.len())?;
            out += &written;
        }
        Ok(out + rest)
    }
}

/// `text.format(…)`.
pub(super) fn format(budget: &Budget, text: &str, args: &Args) -> Result<String, Error> {
    let mut fields = Fields {
        args,
        next: Some(0),
    };
    fields.write(budget, text, false)
}
