//! Changes that break readers.

use serde_json::{Map, Value, json};

/// A stream of random decisions: a function of its number (splitmix64).
#[derive(Debug)]
pub struct Mutator(u64);

/// Numbers that sizes are not prepared for.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    3,
    7,
    255,
    256,
    65_535,
    65_536,
    1 << 24,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 40,
    1 << 63,
    u64::MAX,
];

impl Mutator {
    pub fn new(number: u64) -> Self {
        Mutator(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn random(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.random() % n.max(1) as u64) as usize
    }

    /// One time in `n`.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Change a few bytes, lengths of two to eight bytes, or the end.
    pub fn bytes(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                bytes.push(self.random() as u8);
                continue;
            }
            let at = self.below(bytes.len());
            match self.below(10) {
                0 | 1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes[at] = self.random() as u8,
                3..=5 => {
                    let number = *self.pick(&NUMBERS);
                    let width = *self.pick(&[2, 4, 8]);
                    let end = (at + width).min(bytes.len());
                    bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
                }
                6 => bytes.truncate(at),
                7 => {
                    let from = self.below(bytes.len());
                    let part: Vec<u8> =
                        bytes[from..(from + self.below(64)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, part);
                }
                8 => {
                    let end = (at + self.below(32)).min(bytes.len());
                    bytes.drain(at..end);
                }
                _ => {
                    let end = (at + 4).min(bytes.len());
                    let float =
                        *self.pick(&[f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE, -0.0]);
                    bytes[at..end].copy_from_slice(&float.to_le_bytes()[..end - at]);
                }
            }
        }
    }

    /// Something that a field is not prepared for.
    fn value(&mut self) -> Value {
        match self.below(16) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(""),
            3 => json!([]),
            4 => json!({}),
            5 => json!(-1),
            6 => json!(i64::MIN),
            7 => json!(*self.pick(&[0.5, -0.0, 1e-300, 1e300, 1e-6])),
            8 => json!("x".repeat(1 + self.below(200))),
            9 => json!("\u{0}\u{1b}[31m\u{fffd}漢\u{10ffff}"),
            10 => json!([[[[[[[[1]]]]]]]]),
            11 => json!("(a+)+$"),
            _ => json!(*self.pick(&NUMBERS)),
        }
    }

    /// Change a few places of a JSON value.
    pub fn json(&mut self, value: &mut Value) {
        for _ in 0..=self.below(3) {
            let places = count(value);
            let mut at = self.below(places);
            self.change(value, &mut at);
        }
    }

    /// Change the place number `at`, counted depth first.
    fn change(&mut self, value: &mut Value, at: &mut usize) -> bool {
        if *at == 0 {
            self.place(value);
            return true;
        }
        *at -= 1;
        match value {
            Value::Array(items) => items.iter_mut().any(|item| self.change(item, at)),
            Value::Object(fields) => fields.values_mut().any(|item| self.change(item, at)),
            _ => false,
        }
    }

    fn place(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) if !fields.is_empty() && !self.once_in(4) => {
                let key = fields
                    .keys()
                    .nth(self.below(fields.len()))
                    .cloned()
                    .unwrap_or_default();
                match self.below(4) {
                    0 => {
                        fields.remove(&key);
                    }
                    1 => {
                        let taken = fields.remove(&key).unwrap_or_default();
                        fields.insert(format!("{key}x"), taken);
                    }
                    2 => {
                        // Two fields change their values.
                        let other = fields
                            .keys()
                            .nth(self.below(fields.len()))
                            .cloned()
                            .unwrap_or_default();
                        let (a, b) = (fields[&key].clone(), fields[&other].clone());
                        fields.insert(key, b);
                        fields.insert(other, a);
                    }
                    _ => {
                        let new = self.value();
                        fields.insert(key, new);
                    }
                }
            }
            Value::Array(items) if !items.is_empty() && !self.once_in(4) => {
                let at = self.below(items.len());
                match self.below(4) {
                    0 => {
                        items.remove(at);
                    }
                    1 => {
                        let copy = items[at].clone();
                        items.extend(std::iter::repeat_n(copy, 1 + self.below(8)));
                    }
                    2 => items.swap(0, at),
                    _ => items[at] = self.value(),
                }
            }
            Value::String(text) if self.once_in(2) => {
                let mut bytes = std::mem::take(text).into_bytes();
                self.bytes(&mut bytes);
                *text = String::from_utf8_lossy(&bytes).into_owned();
            }
            Value::Number(number) if self.once_in(2) => {
                let near = number.as_u64().map_or(json!(1), |n| match self.below(3) {
                    0 => json!(n.wrapping_add(1)),
                    1 => json!(n.saturating_sub(1)),
                    _ => json!(n.wrapping_mul(2)),
                });
                *value = near;
            }
            other => *other = self.value(),
        }
    }
}

/// Places of a JSON value: itself and all inside.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// The object in `text`, or an empty one.
pub fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Object(Map::new()))
}
