//! A model as its files describe it, whatever their format, under this project's names.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use super::ImportError;
use super::storage::{Codes, Storage};
use ternary_common::bytes::ByteSource;
use ternary_core::config::ModelConfig;
use ternary_core::layout::Metadata;

/// Bytes compared at a time.
const COMPARED: usize = 1 << 20;
/// Weights read at a time where a layout allows it.
pub(crate) const BAND: usize = 1 << 20;

/// A tensor inside a file.
#[derive(Clone, Debug)]
pub(crate) struct SourceTensor {
    /// As the file calls it.
    pub name: String,
    /// `[rows, cols]` or `[length]`.
    pub shape: Vec<usize>,
    pub storage: Storage,
    /// Index into [`Checkpoint::sources`].
    pub file: usize,
    pub offset: u64,
    /// Of all that is stored under the name.
    pub bytes: u64,
    pub lies: Lies,
}

/// Where a matrix's rows are in its tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lies {
    /// Behind each other, from the offset on.
    #[default]
    Rows,
    /// `run` of them behind each other, then those of other matrices: the next run begins `step`
    /// rows after the last.
    Runs { run: usize, step: usize },
    /// As columns `first` and following of a tensor of `width` columns.
    Columns { first: usize, width: usize },
}

/// What of a decoder's arithmetic becomes part of its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Folds {
    /// Norms multiply by 1 + weight.
    pub norms_from_one: bool,
    /// Factor of the logits, which the final norm takes.
    pub logit_factor: f32,
}

impl Default for Folds {
    fn default() -> Self {
        Folds {
            norms_from_one: false,
            logit_factor: 1.0,
        }
    }
}

/// What a factor beside a matrix does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scaling {
    Multiply,
    Divide,
}

pub(crate) struct Checkpoint<'a> {
    pub architecture: String,
    pub sources: Vec<&'a dyn ByteSource>,
    /// By parameter name.
    pub tensors: BTreeMap<String, SourceTensor>,
    /// Tensors that no parameter can be, and why.
    pub odd: BTreeMap<String, String>,
    /// A factor kept in a tensor of its own, by the matrix's name.
    pub factors: HashMap<String, (SourceTensor, Scaling)>,
    /// Float matrices that the model quantizes to absmean ternary in its forward pass: all of the
    /// body but modules whose name has one of these parts.
    pub masters: Option<Vec<String>>,
    /// Rows of q and k are in pairs instead of halves (GGUF's `llama`).
    pub paired_rows: bool,
    pub folds: Folds,
    /// Whether it was trained with int8 activations; `None` where the files do not tell.
    pub int8_activations: Option<bool>,
    /// Bit-map and scales are set by the plan.
    pub config: ModelConfig,
    pub metadata: Metadata,
    pub warnings: Vec<String>,
    /// A code was met that its type has and ternary matrices do not, see
    /// [`has_plus_two`](Self::has_plus_two).
    pub surprised: Cell<bool>,
}

impl Checkpoint<'_> {
    pub fn tensor(&self, name: &str) -> Result<&SourceTensor, ImportError> {
        match (self.tensors.get(name), self.odd.get(name)) {
            (Some(tensor), _) => Ok(tensor),
            (None, Some(why)) if why == "empty" => Err(ImportError::Tensor {
                tensor: name.to_owned(),
                message: "it is empty: a ZeRO-3 checkpoint whose parameters were not gathered; write the model with DeepSpeed's zero_to_fp32.py, or train with stage3_gather_16bit_weights_on_model_save".into(),
            }),
            (None, Some(why)) => Err(ImportError::Tensor {
                tensor: name.to_owned(),
                message: format!("it is {why}"),
            }),
            (None, None) => Err(ImportError::MissingTensor {
                tensor: name.to_owned(),
            }),
        }
    }

    /// Bytes of the files with the weights.
    pub fn source_bytes(&self) -> u64 {
        self.sources.iter().map(|source| source.len()).sum()
    }

    /// Whether the model quantizes this float matrix itself.
    pub fn is_master(&self, name: &str) -> bool {
        let kept = |parts: &Vec<String>| parts.iter().any(|part| name.contains(part.as_str()));
        self.masters.as_ref().is_some_and(|parts| !kept(parts))
    }

    async fn read(&self, t: &SourceTensor, from: u64, bytes: u64) -> Result<Vec<u8>, ImportError> {
        read(self.sources[t.file], t.offset + from, bytes as usize).await
    }

    /// Values of `rows` rows from `first` on; of types without rows of their own, of all.
    pub async fn floats(
        &self,
        t: &SourceTensor,
        first: usize,
        rows: usize,
    ) -> Result<Vec<f32>, ImportError> {
        let damaged = |message: String| t.damaged(message);
        let cols = t.cols();
        if let Lies::Columns { first: left, width } = t.lies {
            return self.columns(t, left, width, first, rows).await;
        }
        if t.storage.block().is_none() {
            let codes = self.codes(t, 0, t.rows()).await?;
            let scale = codes.scales.first().copied().unwrap_or(1.0);
            let part = &codes.codes[first * cols..(first + rows) * cols];
            return Ok(part.iter().map(|c| scale * f32::from(*c)).collect());
        }
        let mut out = vec![0.0; rows * cols];
        // A vector is one row; what it has in runs are its elements.
        let (first, width) = match (t.lies, t.shape.len()) {
            (Lies::Runs { .. }, 1) => (0, 1),
            _ => (first, cols),
        };
        let row_bytes = t.storage.bytes(1, width as u64).unwrap_or_default();
        let count = out.len() / width.max(1);
        let mut done = 0;
        while done < count {
            let (at, n) = match t.lies {
                Lies::Runs { run, step } => {
                    let (runs, within) = ((first + done) / run, (first + done) % run);
                    (runs * step + within, (run - within).min(count - done))
                }
                _ => (first, count),
            };
            let bytes = self
                .read(t, at as u64 * row_bytes, n as u64 * row_bytes)
                .await?;
            let part = &mut out[done * width..(done + n) * width];
            t.storage.read_floats(&bytes, part).map_err(damaged)?;
            done += n;
        }
        if let Some(bad) = out.iter().find(|v| !v.is_finite()) {
            return Err(t.damaged(format!("a value is {bad}")));
        }
        Ok(out)
    }

    /// Rows of a matrix that is stored by its columns.
    async fn columns(
        &self,
        t: &SourceTensor,
        left: usize,
        width: usize,
        first: usize,
        rows: usize,
    ) -> Result<Vec<f32>, ImportError> {
        let whole = SourceTensor {
            shape: vec![t.cols(), width],
            lies: Lies::Rows,
            ..t.clone()
        };
        let values = Box::pin(self.floats(&whole, 0, t.cols())).await?;
        let mut out = Vec::with_capacity(rows * t.cols());
        for row in first..first + rows {
            out.extend((0..t.cols()).map(|col| values[col * width + left + row]));
        }
        Ok(out)
    }

    /// Whether both tensors have the same bytes.
    pub async fn equal(&self, a: &SourceTensor, b: &SourceTensor) -> Result<bool, ImportError> {
        if (&a.shape, a.storage) != (&b.shape, b.storage) {
            return Ok(false);
        }
        for from in (0..a.bytes).step_by(COMPARED) {
            let n = (a.bytes - from).min(COMPARED as u64);
            if self.read(a, from, n).await? != self.read(b, from, n).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Codes of `rows` rows from `first` on, which is all of types without rows of their own, and
    /// their scales without any factor.
    pub async fn codes(
        &self,
        t: &SourceTensor,
        first: usize,
        rows: usize,
    ) -> Result<Codes, ImportError> {
        let bytes = match t.storage.block() {
            Some(_) => self.rows(t, first, rows).await?,
            None => self.read(t, 0, t.bytes).await?,
        };
        if t.storage.has_plus_two(&bytes) {
            self.surprised.set(true);
        }
        let read = t.storage.read_codes(&bytes, rows, t.cols());
        let codes = read.map_err(|message| t.damaged(message))?;
        if let Some(bad) = codes.scales.iter().find(|s| !s.is_finite()) {
            return Err(t.damaged(format!("a scale is {bad}")));
        }
        Ok(codes)
    }

    /// Bytes of `rows` rows from `first` on.
    async fn rows(
        &self,
        t: &SourceTensor,
        first: usize,
        rows: usize,
    ) -> Result<Vec<u8>, ImportError> {
        let row_bytes = t.bytes / t.rows() as u64;
        self.read(t, first as u64 * row_bytes, rows as u64 * row_bytes)
            .await
    }

    /// Whether a code of the tensor is +2, which only some types of two bits have.
    pub async fn has_plus_two(&self, t: &SourceTensor) -> Result<bool, ImportError> {
        let band = (BAND / t.cols()).max(1);
        for first in (0..t.rows()).step_by(band) {
            let bytes = self.rows(t, first, band.min(t.rows() - first)).await?;
            if t.storage.has_plus_two(&bytes) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a matrix's values are multiplied by besides the scales among them.
    pub async fn factor(&self, matrix: &str) -> Result<f32, ImportError> {
        let Some((t, scaling)) = self.factors.get(matrix) else {
            return Ok(1.0);
        };
        let values = self.floats(t, 0, t.rows()).await?;
        let [value] = values.as_slice() else {
            return Err(ImportError::Unsupported {
                what: format!("the shape of {}", t.name),
                found: format!("{:?}", t.shape),
                supported: "one scale for a matrix".into(),
            });
        };
        if *value == 0.0 && *scaling == Scaling::Divide {
            return Err(t.damaged("a scale to divide by is 0".into()));
        }
        Ok(match scaling {
            Scaling::Multiply => *value,
            Scaling::Divide => 1.0 / value,
        })
    }
}

impl SourceTensor {
    pub fn rows(&self) -> usize {
        match self.shape.as_slice() {
            [rows, _] => *rows,
            _ => 1,
        }
    }

    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Its rows, or a vector's elements, in parts of these numbers, which are all of them.
    pub fn in_parts(&self, counts: &[usize]) -> Result<Vec<SourceTensor>, ImportError> {
        let all: usize = counts.iter().sum();
        if self.shape.first() != Some(&all) {
            let mut expected = self.shape.clone();
            expected[0] = all;
            return Err(ImportError::Shape {
                tensor: self.name.clone(),
                found: self.shape.clone(),
                expected,
            });
        }
        if self.storage.block().is_none() {
            return Err(self.damaged(format!(
                "several matrices in one of type {} are not supported",
                self.storage.named()
            )));
        }
        let each = self.bytes / all as u64;
        let mut offset = self.offset;
        let part = |count: &usize| {
            let mut part = SourceTensor {
                offset,
                bytes: *count as u64 * each,
                ..self.clone()
            };
            part.shape[0] = *count;
            offset += part.bytes;
            part
        };
        Ok(counts.iter().map(part).collect())
    }

    pub fn damaged(&self, message: String) -> ImportError {
        ImportError::Tensor {
            tensor: self.name.clone(),
            message,
        }
    }
}

/// Exactly `len` bytes from `offset` on, which the caller knows to be there.
pub(crate) async fn read(
    source: &dyn ByteSource,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, ImportError> {
    let damaged = |message: String| ImportError::Damaged {
        file: source.name(),
        message,
    };
    let end = offset.checked_add(len as u64);
    if end.is_none_or(|end| end > source.len()) {
        return Err(damaged(format!(
            "{len} bytes at {offset} are needed; the file has {}",
            source.len()
        )));
    }
    source.read(offset, len).await.map_err(damaged)
}
