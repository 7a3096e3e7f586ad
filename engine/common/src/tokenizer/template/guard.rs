//! Templates are programs of strangers. Their bytecode is changed before it runs: every value that
//! they make is measured, so that no text grows beyond a limit, nothing is nested deeper than
//! printing can follow, and nothing takes longer than a limit. What a template prints passes the
//! same account. The number of steps is limited by the virtual machine itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use crate::platform::Instant;

/// Steps of a rendering, and those that each message adds.
const STEPS: u64 = 1_000_000;
const STEPS_PER_MESSAGE: u64 = 50_000;
/// Bytes of a value or of the whole output, and those that each byte of the messages adds.
const BYTES: usize = 1 << 20;
const BYTES_PER_BYTE: usize = 8;
const SECONDS: f64 = 2.0;
pub(super) const TOO_LONG: &str = "it takes longer than";
/// Lists inside lists.
const MAX_DEPTH: usize = 64;
/// Elements of a list.
const MAX_LENGTH: usize = 200_000;
/// What a number or an empty list counts, in bytes.
const SMALL: usize = 8;

/// Names of the checks among a template's filters. No template can write them: they end with a
/// mark.
pub(super) const MEASURE: &str = "measure!";
pub(super) const CONCAT: &str = "concat!";
pub(super) const REPEAT: &str = "repeat!";
pub(super) const PERCENT: &str = "percent!";
pub(super) const SLICE: &str = "slice!";
pub(super) const STORE: &str = "store!";
pub(super) const TICK: &str = "tick!";

/// What one rendering may still use.
#[derive(Debug)]
pub(super) struct Budget {
    pub steps: u64,
    most: usize,
    printed: AtomicUsize,
    begin: Instant,
    /// What the template itself said was wrong.
    pub raised: Mutex<Option<String>>,
}

fn refuse<T>(message: String) -> Result<T, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

impl Budget {
    /// For so many messages of so many bytes in all.
    pub fn new(messages: usize, bytes: usize) -> Self {
        Budget {
            steps: STEPS + STEPS_PER_MESSAGE * messages as u64,
            most: BYTES.saturating_add(BYTES_PER_BYTE.saturating_mul(bytes)),
            printed: AtomicUsize::new(0),
            begin: Instant::now(),
            raised: Mutex::new(None),
        }
    }

    pub fn tick(&self) -> Result<(), Error> {
        if self.begin.elapsed().as_secs_f64() > SECONDS {
            return refuse(format!("{TOO_LONG} {SECONDS} seconds"));
        }
        Ok(())
    }

    /// Refuse a text of so many bytes before it is made.
    pub fn allow(&self, bytes: usize) -> Result<(), Error> {
        if bytes > self.most {
            return refuse(format!("it makes a text of more than {} bytes", self.most));
        }
        Ok(())
    }

    /// Refuse a list of so many elements before it is made.
    pub fn count(&self, elements: usize) -> Result<(), Error> {
        if elements > MAX_LENGTH {
            return refuse(format!(
                "it makes a list of more than {MAX_LENGTH} elements"
            ));
        }
        Ok(())
    }

    /// Take so many bytes from what may be printed.
    pub fn print(&self, bytes: usize) -> Result<(), Error> {
        let before = self.printed.fetch_add(bytes, Ordering::Relaxed);
        self.allow(before.saturating_add(bytes))
    }

    /// About the bytes that printing `value` takes, if they are not too many.
    pub fn measure(&self, value: &Value) -> Result<usize, Error> {
        self.tick()?;
        let mut bytes = 0;
        self.add(value, 0, &mut bytes)?;
        Ok(bytes)
    }

    fn add(&self, value: &Value, depth: usize, bytes: &mut usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return refuse(format!("it nests lists more than {MAX_DEPTH} deep"));
        }
        *bytes = bytes.saturating_add(match value.kind() {
            ValueKind::String => value.as_str().map_or(SMALL, str::len),
            ValueKind::Bytes => value.len().unwrap_or(SMALL),
            _ => SMALL,
        });
        self.allow(*bytes)?;
        let map = value.kind() == ValueKind::Map;
        // Iterators of unknown length can be gone through once only.
        let elements = map
            || value.kind() == ValueKind::Seq
            || (value.kind() == ValueKind::Iterable && value.len().is_some());
        if !elements {
            return Ok(());
        }
        for (i, element) in value.try_iter()?.enumerate() {
            self.count(i + 1)?;
            if i % 1024 == 1023 {
                self.tick()?;
            }
            self.add(&element, depth + 1, bytes)?;
            if map {
                self.add(&value.get_item(&element)?, depth + 1, bytes)?;
            }
        }
        Ok(())
    }

    /// What is put into a namespace must not hold one: it would hold itself.
    pub fn store(&self, value: &Value) -> Result<(), Error> {
        fn holds_namespace(value: &Value) -> bool {
            let Some(object) = value.as_object() else {
                return false;
            };
            if object.type_name().ends_with("Namespace") {
                return true;
            }
            if !matches!(value.kind(), ValueKind::Map | ValueKind::Seq) {
                return false;
            }
            let Ok(mut elements) = value.try_iter() else {
                return false;
            };
            let map = value.kind() == ValueKind::Map;
            elements.any(|e| {
                holds_namespace(&e)
                    || (map && value.get_item(&e).is_ok_and(|v| holds_namespace(&v)))
            })
        }
        self.measure(value)?;
        if holds_namespace(value) {
            return refuse("it puts a namespace into a namespace".into());
        }
        Ok(())
    }

    /// `left * right`, which may repeat a text or a list.
    pub fn repeat(&self, left: &Value, right: &Value) -> Result<Value, Error> {
        let times = |n: &Value| usize::try_from(i64::try_from(n.clone()).unwrap_or(0)).unwrap_or(0);
        for (what, n) in [(left, right), (right, left)] {
            if let Some(text) = what.as_str() {
                self.allow(text.len().saturating_mul(times(n)))?;
                return Ok(text.repeat(times(n)).into());
            }
            if matches!(what.kind(), ValueKind::Seq | ValueKind::Iterable) {
                let bytes = self.measure(what)?.saturating_mul(times(n));
                self.allow(bytes)?;
                let items: Vec<Value> = what.try_iter()?.collect();
                let count = items.len() * times(n);
                return Ok(items.into_iter().cycle().take(count).collect());
            }
        }
        if left.is_integer() && right.is_integer() {
            let (a, b) = (
                i128::try_from(left.clone())?,
                i128::try_from(right.clone())?,
            );
            return match a.checked_mul(b) {
                Some(n) => Ok(n.into()),
                None => refuse(format!("{left} * {right} is too large")),
            };
        }
        let (a, b) = (f64::try_from(left.clone())?, f64::try_from(right.clone())?);
        Ok((a * b).into())
    }
}

/// The bytecode with the checks in it.
pub(super) fn guarded<'a>(original: &Instructions<'a>) -> Instructions<'a> {
    let mut out = Instructions::new(original.name(), original.source());
    // Where each instruction went.
    let mut places = Vec::new();
    let check = |name: &'static str, arguments: u16| {
        // No cache slot: there are few.
        Instruction::ApplyFilter(name, Some(arguments), u8::MAX)
    };
    let (mut index, mut next) = (0, 0);
    while let Some(instruction) = original.get(index) {
        let line = original.get_line(index).unwrap_or(0) as u16;
        places.push(next);
        let mut add = |instruction| next = out.add_with_line(instruction, line) + 1;
        match instruction {
            Instruction::EmitRaw(text) => {
                add(Instruction::LoadConst(Value::from(*text)));
                add(Instruction::Emit);
            }
            Instruction::StringConcat => {
                add(check(CONCAT, 2));
            }
            Instruction::Mul => {
                add(check(REPEAT, 2));
            }
            Instruction::Rem => {
                add(check(PERCENT, 2));
            }
            Instruction::Slice => {
                add(check(SLICE, 4));
            }
            Instruction::Iterate(target) => {
                add(Instruction::LoadConst(Value::UNDEFINED));
                add(check(TICK, 1));
                add(Instruction::DiscardTop);
                add(Instruction::Iterate(*target));
            }
            Instruction::SetAttr(name) => {
                add(Instruction::Swap);
                add(check(STORE, 1));
                add(Instruction::Swap);
                add(Instruction::SetAttr(name));
            }
            Instruction::Add
            | Instruction::BuildList(_)
            | Instruction::BuildTuple(_)
            | Instruction::BuildMap(_)
            | Instruction::ApplyFilter(..)
            | Instruction::CallFunction(..)
            | Instruction::CallMethod(..)
            | Instruction::CallObject(_)
            | Instruction::EndCapture => {
                add(instruction.clone());
                add(check(MEASURE, 1));
            }
            other => {
                add(other.clone());
            }
        }
        index += 1;
    }
    places.push(next);
    let moved = |target: &mut u32| {
        if let Some(place) = places.get(*target as usize) {
            *target = *place;
        }
    };
    let mut index = 0;
    while let Some(instruction) = out.get_mut(index) {
        match instruction {
            Instruction::Iterate(target)
            | Instruction::Jump(target)
            | Instruction::JumpIfFalse(target)
            | Instruction::JumpIfFalseOrPop(target)
            | Instruction::JumpIfTrueOrPop(target)
            | Instruction::BuildMacro(_, target, _) => moved(target),
            _ => {}
        }
        index += 1;
    }
    out
}
