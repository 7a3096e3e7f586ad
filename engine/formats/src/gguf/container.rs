//! The GGUF container, versions 2 and 3: metadata by key, then name, shape, type and place of every
//! tensor. Pure functions of the file's first bytes; every length is checked against what is left
//! of the file before anything is allocated.

use std::collections::BTreeMap;

use super::architecture;
use crate::source::ImportError;
use crate::source::checkpoint::{Lies, SourceTensor, read};
use crate::source::storage::Storage;
use ternary_common::bytes::ByteSource;
use ternary_core::kind::found;

/// Bytes read at first: most files' metadata but for the vocabulary.
const FIRST: u64 = 1 << 20;
/// Largest metadata accepted: a vocabulary of 256k tokens takes about 10 MB.
const MAX_HEAD: u64 = 256 << 20;
/// Longest array accepted, and most tensors.
const MAX_COUNT: u64 = 1 << 24;
const ALIGNMENT: &str = "general.alignment";

/// A metadata value; numbers of an array as f32, which holds all that matter here exactly.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Integer(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Numbers(Vec<f32>),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Integer(n) => n.fmt(f),
            Value::Float(n) => n.fmt(f),
            Value::Bool(b) => b.fmt(f),
            Value::Text(text) => write!(f, "the text {text:?}"),
            Value::Texts(texts) => write!(f, "a list of {} texts", texts.len()),
            Value::Numbers(numbers) => write!(f, "a list of {} numbers", numbers.len()),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Gguf {
    pub values: BTreeMap<String, Value>,
    /// As the file names them, `shape` outermost first.
    pub tensors: Vec<SourceTensor>,
}

/// Why parsing ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Stop {
    /// The bytes given end inside the head.
    More,
    Bad(String),
    /// The model is of a kind that is not supported.
    Refused(String),
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Of the whole file.
    file_len: u64,
}

type Parsed<T> = Result<T, Stop>;

fn bad<T>(message: String) -> Parsed<T> {
    Err(Stop::Bad(message))
}

impl Cursor<'_> {
    fn take(&mut self, n: u64) -> Parsed<&[u8]> {
        let left = self.file_len - self.at as u64;
        if n > left {
            return bad(format!(
                "it ends inside its metadata: {n} bytes are needed at {}, the file has {}",
                self.at, self.file_len
            ));
        }
        let end = self.at + n as usize;
        let part = self.bytes.get(self.at..end).ok_or(Stop::More)?;
        self.at = end;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let bytes = self.take(N as u64)?;
        <[u8; N]>::try_from(bytes).map_err(|_| Stop::More)
    }

    fn u32(&mut self) -> Parsed<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Parsed<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Parsed<String> {
        let len = self.u64()?;
        let bytes = self.take(len)?;
        // Vocabularies hold pieces of characters in other alphabets than UTF-8's only by mistake;
        // they are kept readable.
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn number(&mut self, kind: u32) -> Parsed<Value> {
        Ok(match kind {
            0 => Value::Integer(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(u8::from_le_bytes(self.array()?) != 0),
            10 => match i64::try_from(self.u64()?) {
                Ok(n) => Value::Integer(n),
                Err(_) => return bad("a number of its metadata is above 2⁶³".into()),
            },
            11 => Value::Integer(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return bad(format!("metadata of unknown type {other}")),
        })
    }

    fn value(&mut self, kind: u32) -> Parsed<Value> {
        match kind {
            8 => self.text().map(Value::Text),
            9 => {
                let kind = self.u32()?;
                let count = self.u64()?;
                // Every element takes at least a byte.
                if count > MAX_COUNT || count > self.file_len - self.at as u64 {
                    return bad(format!("an array of {count} elements cannot be in it"));
                }
                if kind == 8 {
                    let texts = (0..count).map(|_| self.text());
                    return texts.collect::<Parsed<_>>().map(Value::Texts);
                }
                let numbers = (0..count).map(|_| {
                    Ok(match self.number(kind)? {
                        Value::Integer(n) => n as f32,
                        Value::Float(n) => n as f32,
                        Value::Bool(b) => f32::from(u8::from(b)),
                        _ => 0.0,
                    })
                });
                numbers.collect::<Parsed<_>>().map(Value::Numbers)
            }
            _ => self.number(kind),
        }
    }
}

/// The types that are read: number and name.
const TYPES: [(u32, &str, Storage); 24] = [
    (28, "F64", Storage::F64),
    (0, "F32", Storage::F32),
    (1, "F16", Storage::F16),
    (30, "BF16", Storage::Bf16),
    (2, "Q4_0", Storage::Q4_0),
    (3, "Q4_1", Storage::Q4_1),
    (6, "Q5_0", Storage::Q5_0),
    (7, "Q5_1", Storage::Q5_1),
    (8, "Q8_0", Storage::Q8_0),
    (10, "Q2_K", Storage::Q2K),
    (11, "Q3_K", Storage::Q3K),
    (12, "Q4_K", Storage::Q4K),
    (13, "Q5_K", Storage::Q5K),
    (14, "Q6_K", Storage::Q6K),
    (20, "IQ4_NL", Storage::Iq4Nl),
    (23, "IQ4_XS", Storage::Iq4Xs),
    (39, "MXFP4", Storage::Mxfp4),
    (34, "TQ1_0", Storage::Tq1_0),
    (35, "TQ2_0", Storage::Tq2_0),
    (36, "I2_S", Storage::I2S),
    (41, "Q1_0", Storage::Q1_0),
    (42, "Q2_0", Storage::Q2_0),
    (142, "PQ2_0", Storage::Pq2_0),
    (143, "PTQ1_0", Storage::Ptq1_0),
];

/// Types that published files have and that are not read, so that a message can name them:
/// llama.cpp's, those it dropped, and those of its forks.
const OTHERS: [(u32, &str); 47] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (37, "I8_S"),
    (38, "TL1"),
    (40, "NVFP4"),
    (133, "Q6_0"),
    (134, "IQ1_BN"),
    (135, "IQ2_BN"),
    (137, "IQ2_K"),
    (138, "IQ3_K"),
    (139, "IQ4_K"),
    (140, "IQ5_K"),
    (141, "IQ6_K"),
    (144, "IQ4_KS"),
    (145, "IQ2_KS"),
    (146, "IQ4_KSS"),
    (151, "Q8_KV"),
    (152, "IQ5_KS"),
    (153, "IQ2_KT"),
    (154, "IQ3_KT"),
    (155, "IQ4_KT"),
    (156, "IQ3_KS"),
    (157, "IQ2_KL"),
    (158, "IQ1_KT"),
    (202, "Q4_0_R8"),
    (208, "Q8_0_R8"),
    (212, "Q4_K_R4"),
    (214, "Q6_K_R4"),
    (220, "IQ4_NL_R4"),
    (335, "IQ2_BN_R4"),
    (339, "IQ4_K_R4"),
];

fn storage(kind: u32, name: &str) -> Parsed<Storage> {
    if let Some((.., storage)) = TYPES.iter().find(|(number, ..)| *number == kind) {
        return Ok(*storage);
    }
    let other = OTHERS.iter().find(|(number, _)| *number == kind);
    let named = other.map_or_else(
        || format!("{kind}, which is not known"),
        |(_, name)| format!("{name} ({kind}), which is not read"),
    );
    let known: Vec<&str> = TYPES.iter().map(|(_, name, _)| *name).collect();
    bad(format!(
        "tensor {name} has type {named}; supported: {}. Take a file of the same model in one of these, such as its Q8_0 or Q4_K_M",
        known.join(", ")
    ))
}

impl Storage {
    /// Its number and name in GGUF; `None` for what is not GGUF's.
    pub fn gguf_type(self) -> Option<(u32, &'static str)> {
        let found = TYPES.iter().find(|(.., storage)| *storage == self);
        found.map(|(number, name, _)| (*number, *name))
    }

    /// As messages call it.
    pub fn named(self) -> String {
        match self.gguf_type() {
            Some((number, name)) => format!("{name} ({number})"),
            None => format!("{self:?}"),
        }
    }
}

/// Places the tensors, of which the offsets count from `data` on, in a file of `file_len` bytes:
/// each must lie in it, and none in another.
fn place(tensors: &mut [SourceTensor], data: u64, alignment: u64, file_len: u64) -> Parsed<()> {
    for t in tensors.iter_mut() {
        match data.checked_add(t.offset) {
            Some(at) if at < file_len => t.offset = at,
            _ => {
                return bad(format!(
                    "tensor {} begins at {}, beyond the end of the file ({file_len} bytes): a broken download?",
                    t.name, t.offset
                ));
            }
        }
    }
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|i| tensors[*i].offset);
    let end_of = |place: usize, tensors: &[SourceTensor]| match order.get(place + 1) {
        Some(next) => tensors[*next].offset,
        None => file_len,
    };
    two_bit_groups(tensors, &order, alignment, file_len)?;
    for (place, i) in order.iter().enumerate() {
        let t = &tensors[*i];
        let end = end_of(place, tensors);
        if t.bytes <= end - t.offset {
            continue;
        }
        return bad(match order.get(place + 1) {
            None => format!(
                "tensor {} of {} bytes at {} lies beyond the end of the file ({file_len} bytes): a broken download?",
                t.name, t.bytes, t.offset
            ),
            Some(next) => format!(
                "tensor {} of type {} needs {} bytes, but tensor {} begins {} bytes behind its start: the file is damaged, or made by a fork that gives another type this number",
                t.name,
                t.storage.named(),
                t.bytes,
                tensors[*next].name,
                end - t.offset
            ),
        });
    }
    Ok(())
}

/// Type 42 is Q2_0, in blocks of 64 weights; older files of one fork have blocks of 128 under the
/// same number. The space that the tensors take up tells which, for all of a file together.
fn two_bit_groups(
    tensors: &mut [SourceTensor],
    order: &[usize],
    alignment: u64,
    file_len: u64,
) -> Parsed<()> {
    let mut fitting = [Storage::Q2_0, Storage::Pq2_0].map(|storage| (storage, true));
    let mut first = None;
    for (place, i) in order.iter().enumerate() {
        let t = &tensors[*i];
        if t.storage != Storage::Q2_0 {
            continue;
        }
        let next = order.get(place + 1).map(|next| tensors[*next].offset);
        let space = next.unwrap_or(file_len) - t.offset;
        for (storage, fits) in &mut fitting {
            let bytes = storage.bytes(t.rows() as u64, t.cols() as u64);
            // Behind the last tensor there may be no padding.
            *fits &= bytes.is_some_and(|n| {
                n.checked_next_multiple_of(alignment) == Some(space) || next.is_none() && n == space
            });
        }
        first.get_or_insert((*i, space));
    }
    let Some((first, space)) = first else {
        return Ok(());
    };
    let storage = match fitting {
        [(storage, true), (_, false)] | [(_, false), (storage, true)] => storage,
        [(_, fits), _] => {
            let t = &tensors[first];
            return bad(format!(
                "tensor {} of type Q2_0 (42) and shape {:?} has {space} bytes up to the next, which {}; import the model's file in PQ2_0 (142) or TQ2_0 (35) instead",
                t.name,
                t.shape,
                if fits {
                    "blocks of 64 weights and blocks of 128 (older files of Prism's) both fit into: which they are cannot be told"
                } else {
                    "are those of neither blocks of 64 weights nor blocks of 128 (older files of Prism's)"
                }
            ));
        }
    };
    for t in tensors.iter_mut().filter(|t| t.storage == Storage::Q2_0) {
        t.storage = storage;
        let bytes = storage.bytes(t.rows() as u64, t.cols() as u64);
        t.bytes = bytes.unwrap_or(t.bytes);
    }
    Ok(())
}

/// Parse the head of a file of `file_len` bytes from its first bytes.
pub(crate) fn parse(bytes: &[u8], file_len: u64, file: usize) -> Parsed<Gguf> {
    let mut c = Cursor {
        bytes,
        at: 0,
        file_len,
    };
    if !bytes.starts_with(b"GGUF") {
        return bad(format!("no GGUF file: {}", found(bytes)));
    }
    c.array::<4>()?;
    let version = c.u32()?;
    if (1..=3).contains(&version.swap_bytes()) {
        return bad("it is big-endian; only little-endian GGUF files are read: download the model for x86 or ARM, or convert it with gguf_convert_endian.py of llama.cpp".into());
    }
    if !(2..=3).contains(&version) {
        return bad(format!(
            "GGUF version {version}; supported: 2 and 3, little-endian"
        ));
    }
    let (tensor_count, value_count) = (c.u64()?, c.u64()?);
    if tensor_count > MAX_COUNT || value_count > MAX_COUNT {
        return bad(format!(
            "{tensor_count} tensors and {value_count} metadata values cannot be in it"
        ));
    }
    let mut values = BTreeMap::new();
    for _ in 0..value_count {
        let key = c.text()?;
        let kind = c.u32()?;
        let value = c.value(kind)?;
        values.insert(key, value);
    }
    if let Some(message) = architecture::refusal(&values) {
        return Err(Stop::Refused(message));
    }
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        let name = c.text()?;
        let dims = c.u32()?;
        if !(1..=4).contains(&dims) {
            return bad(format!("tensor {name} has {dims} dimensions"));
        }
        let mut shape = Vec::new();
        for _ in 0..dims {
            shape.push(c.u64()?);
        }
        // Innermost first; trailing ones mean nothing.
        while shape.len() > 1 && shape.last() == Some(&1) {
            shape.pop();
        }
        let (cols, rows) = match shape.as_slice() {
            [n] => (*n, 1),
            [cols, rows] => (*cols, *rows),
            _ => {
                return bad(format!(
                    "tensor {name} has shape {shape:?}; supported: one or two dimensions"
                ));
            }
        };
        let kind = c.u32()?;
        let offset = c.u64()?;
        let storage = storage(kind, &name)?;
        // What Q2_0 is, is decided later, when the tensors' places are known.
        let least = match storage {
            Storage::Q2_0 => Storage::Pq2_0.bytes(rows, cols),
            _ => None,
        };
        let size = least.or_else(|| storage.bytes(rows, cols));
        let size = size.filter(|n| *n > 0 && *n <= file_len);
        let Some(bytes) = size else {
            return bad(format!(
                "tensor {name} of type {} cannot have shape {shape:?}",
                storage.named()
            ));
        };
        shape.reverse();
        tensors.push(SourceTensor {
            name,
            shape: shape.iter().map(|n| *n as usize).collect(),
            storage,
            file,
            offset,
            bytes,
            lies: Lies::Rows,
        });
    }
    let alignment = match values.get(ALIGNMENT) {
        Some(Value::Integer(n @ 1..=65536)) if n.count_ones() == 1 => *n as u64,
        None => 32,
        Some(other) => {
            return bad(format!(
                "{ALIGNMENT} is {other}; a power of two up to 65536 is expected"
            ));
        }
    };
    let data = (c.at as u64).next_multiple_of(alignment);
    place(&mut tensors, data, alignment, file_len)?;
    Ok(Gguf { values, tensors })
}

/// `file` is the index that its tensors say they are in.
pub(crate) async fn open(source: &dyn ByteSource, file: usize) -> Result<Gguf, ImportError> {
    let len = source.len();
    let mut have = FIRST.min(len);
    loop {
        let bytes = read(source, 0, have as usize).await?;
        let message = match parse(&bytes, len, file) {
            Ok(gguf) => return Ok(gguf),
            Err(Stop::More) if have < len.min(MAX_HEAD) => {
                have = (4 * have).min(len).min(MAX_HEAD);
                continue;
            }
            Err(Stop::More) => format!("its metadata is longer than {MAX_HEAD} bytes"),
            Err(Stop::Bad(message)) => message,
            Err(Stop::Refused(message)) => {
                return Err(ImportError::Input(format!("{}: {message}", source.name())));
            }
        };
        return Err(ImportError::Damaged {
            file: source.name(),
            message,
        });
    }
}

impl Gguf {
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.values.get(key) {
            Some(Value::Texts(texts)) => Some(texts),
            _ => None,
        }
    }

    pub fn numbers(&self, key: &str) -> Option<&[f32]> {
        match self.values.get(key) {
            Some(Value::Numbers(numbers)) => Some(numbers),
            _ => None,
        }
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.values.get(key) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    pub fn integer(&self, key: &str) -> Option<i64> {
        match self.values.get(key) {
            Some(Value::Integer(n)) => Some(*n),
            _ => None,
        }
    }

    pub fn float(&self, key: &str) -> Option<f64> {
        match self.values.get(key) {
            Some(Value::Float(n)) => Some(*n),
            Some(Value::Integer(n)) => Some(*n as f64),
            _ => None,
        }
    }
}
