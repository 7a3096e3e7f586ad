//! The arguments that a template gives a method or a filter, by place or by name.

use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{Error, ErrorKind};

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

pub(super) struct Args {
    /// What is called, for errors.
    of: String,
    by_place: Vec<Value>,
    named: Kwargs,
}

impl Args {
    pub fn new(of: &str, by_place: Vec<Value>, named: Kwargs) -> Self {
        let of = of.to_owned();
        Args {
            of,
            by_place,
            named,
        }
    }

    /// Of a method: the names are the last of `args`.
    pub fn of_method(of: &str, args: &[Value]) -> Result<Self, Error> {
        let (Rest(by_place), named) = minijinja::value::from_args(args)?;
        Ok(Args::new(of, by_place, named))
    }

    pub fn of(&self) -> &str {
        &self.of
    }

    pub fn by_place(&self) -> &[Value] {
        &self.by_place
    }

    pub fn named(&self, name: &str) -> Result<Option<Value>, Error> {
        // Without this, None would count as not given.
        if !self.named.has(name) {
            return Ok(None);
        }
        let value: Value = self.named.get(name)?;
        Ok(Some(value))
    }

    /// The names of those given by name.
    pub fn names(&self) -> Vec<String> {
        self.named.args().map(str::to_owned).collect()
    }

    pub fn get(&self, place: usize, name: &str) -> Result<Option<Value>, Error> {
        match self.by_place.get(place) {
            Some(value) => Ok(Some(value.clone())),
            None => self.named(name),
        }
    }

    /// As [`get`](Self::get), where None is as good as nothing.
    pub fn some(&self, place: usize, name: &str) -> Result<Option<Value>, Error> {
        Ok(self.get(place, name)?.filter(|value| !value.is_none()))
    }

    pub fn text(&self, place: usize, name: &str) -> Result<Option<String>, Error> {
        let Some(value) = self.some(place, name)? else {
            return Ok(None);
        };
        match value.as_str() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(invalid(format!(
                "`{}` takes a text as argument {}",
                self.of,
                place + 1
            ))),
        }
    }

    /// One that must be given.
    pub fn needed(&self, place: usize, name: &str) -> Result<String, Error> {
        self.text(place, name)?.ok_or_else(|| {
            invalid(format!(
                "`{}` takes a text as argument {}",
                self.of,
                place + 1
            ))
        })
    }

    pub fn integer(&self, place: usize, name: &str) -> Result<Option<i64>, Error> {
        let value = self.some(place, name)?;
        value.map(i64::try_from).transpose()
    }

    pub fn flag(&self, place: usize, name: &str) -> Result<bool, Error> {
        Ok(self.get(place, name)?.is_some_and(|value| value.is_true()))
    }

    /// No more than `most`, and no name that nobody asked for.
    pub fn end(&self, most: usize) -> Result<(), Error> {
        if self.by_place.len() > most {
            return Err(Error::new(
                ErrorKind::TooManyArguments,
                format!("`{}` takes at most {most} arguments", self.of),
            ));
        }
        self.named.assert_all_used()
    }
}
