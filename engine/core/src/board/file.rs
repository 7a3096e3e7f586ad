//! A `.1bit` in memory as the parts of a decoder, everything checked once.

use alloc::{borrow::ToOwned, format, string::String, vec, vec::Vec};

use serde::Deserialize;

use super::BoardError;
use crate::config::{MatrixKind, ModelConfig, NormKind, QuantMode};
use crate::layout::header::{Header, check_hash};
use crate::layout::{Encoding, FormatError, HEADER_BYTES, ScalePer, TensorEntry, layout};
use crate::math::half;
use crate::params::{self, norms};

/// What is read of the metadata: the tokenizer, the largest part, is skipped without a copy.
#[derive(Deserialize)]
struct Metadata {
    config: ModelConfig,
}

/// Little-endian f32 values, which need not be aligned.
type Floats<'a> = &'a [[u8; 4]];

/// Scales as they lie in the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scales<'a> {
    F32(Floats<'a>),
    F16(&'a [[u8; 2]]),
}

impl Scales<'_> {
    fn len(&self) -> usize {
        match self {
            Scales::F32(all) => all.len(),
            Scales::F16(all) => all.len(),
        }
    }

    fn get(&self, i: usize) -> f32 {
        match self {
            Scales::F32(all) => f32::from_le_bytes(all[i]),
            Scales::F16(all) => half(u16::from_le_bytes(all[i])),
        }
    }

    fn values(&self) -> impl Iterator<Item = f32> {
        (0..self.len()).map(|i| self.get(i))
    }
}

/// f32 values as they lie in the file.
#[derive(Clone, Copy, Debug)]
pub struct Vector<'a>(pub(super) Floats<'a>);

impl Vector<'_> {
    /// From the first on.
    pub fn values(&self) -> impl Iterator<Item = f32> {
        self.0.iter().map(|b| f32::from_le_bytes(*b))
    }
}

/// A norm, of as many channels as its weight has.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// One f32 for each channel.
    pub weight: Vector<'a>,
    /// What makes it a LayerNorm.
    pub bias: Option<Vector<'a>>,
}

/// A matrix `[rows, cols]` as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// How it is multiplied.
    pub mode: QuantMode,
    /// How its codes are packed.
    pub encoding: Encoding,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Columns per scale: `cols` unless scales are per group.
    pub span: usize,
    /// None (every scale is 1), one, or `rows · cols / span`.
    pub(super) scales: Scales<'a>,
    /// The codes of all rows.
    pub codes: &'a [u8],
    pub(super) row_bytes: usize,
    /// Added to the product, `[rows]`.
    pub bias: Option<Vector<'a>>,
}

impl<'a> Matrix<'a> {
    /// The bytes of row `row`.
    pub fn row(&self, row: usize) -> &'a [u8] {
        &self.codes[row * self.row_bytes..][..self.row_bytes]
    }

    /// Scales in row order: none (every scale is 1), one, or `rows · cols / span`.
    pub fn scales(&self) -> impl Iterator<Item = f32> {
        self.scales.values()
    }

    /// Of span `span` of row `row`.
    pub(super) fn scale(&self, row: usize, span: usize) -> f32 {
        match self.scales.len() {
            0 => 1.0,
            1 => self.scales.get(0),
            _ => self.scales.get(row * (self.cols / self.span) + span),
        }
    }
}

/// The weights of one decoder layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Before attention, `[hidden]`; not with `norm_placement: post`.
    pub input_norm: Option<Norm<'a>>,
    /// `[heads · head_dim, hidden]`.
    pub q: Matrix<'a>,
    /// `[kv_heads · head_dim, hidden]`.
    pub k: Matrix<'a>,
    /// `[kv_heads · head_dim, hidden]`.
    pub v: Matrix<'a>,
    /// Of q and of k: of every head, or with `qk_norm_over_heads` of all together.
    pub qk_norm: Option<(Norm<'a>, Norm<'a>)>,
    /// Before `o`, with `use_sub_norm`.
    pub attention_sub_norm: Option<Norm<'a>>,
    /// `[hidden, heads · head_dim]`.
    pub o: Matrix<'a>,
    /// Behind attention, `[hidden]`, with `norm_placement: post` or `sandwich`.
    pub attention_output_norm: Option<Norm<'a>>,
    /// Before the MLP, `[hidden]`; not with `norm_placement: post`.
    pub mlp_norm: Option<Norm<'a>>,
    /// `[intermediate, hidden]`, with SwiGLU.
    pub gate: Option<Matrix<'a>>,
    /// `[intermediate, hidden]`.
    pub up: Matrix<'a>,
    /// Before `down`, with `use_sub_norm`.
    pub mlp_sub_norm: Option<Norm<'a>>,
    /// `[hidden, intermediate]`.
    pub down: Matrix<'a>,
    /// Behind the MLP, `[hidden]`, with `norm_placement: post` or `sandwich`.
    pub mlp_output_norm: Option<Norm<'a>>,
}

/// A file's model; the weights stay where they are.
#[derive(Clone, Debug)]
pub struct Model<'a> {
    /// The file's.
    pub config: ModelConfig,
    /// `[vocab, hidden]`.
    pub embedding: Matrix<'a>,
    /// Learned positions `[max_seq_len, hidden]`, without RoPE.
    pub positions: Option<Vector<'a>>,
    /// From the first to the last.
    pub layers: Vec<Layer<'a>>,
    /// Before the head, `[hidden]`.
    pub final_norm: Norm<'a>,
    /// The embedding when tied.
    pub head: Matrix<'a>,
}

/// The tensors of a file and the bytes behind its header.
struct Tensors<'a> {
    entries: Vec<TensorEntry>,
    data: &'a [u8],
}

fn invalid(name: &str, message: String) -> FormatError {
    FormatError::Invalid {
        what: format!("tensor {name}"),
        message,
    }
}

impl<'a> Tensors<'a> {
    /// A tensor's entry, scales and values; shape and checksum are right, scales finite.
    fn get(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<(&TensorEntry, Scales<'a>, &'a [u8]), FormatError> {
        let entry = self
            .entries
            .iter()
            .find(|t| t.name == name)
            .ok_or_else(|| FormatError::MissingTensor(name.to_owned()))?;
        if !entry
            .shape
            .iter()
            .copied()
            .eq(shape.iter().map(|n| *n as u64))
        {
            let message = format!("shape {:?}, the config asks for {shape:?}", entry.shape);
            return Err(invalid(name, message));
        }
        let encoding = entry.encoding()?;
        let parts = layout(encoding, &entry.shape, entry.scale, entry.group).and_then(
            |(count, scale_bytes, _)| {
                let start = usize::try_from(entry.offset).ok()?;
                let end = start.checked_add(usize::try_from(entry.length).ok()?)?;
                let bytes = self.data.get(start..end)?;
                let (scales, codes) = bytes.split_at_checked(usize::try_from(scale_bytes).ok()?)?;
                let count = usize::try_from(count).ok()?;
                let scales = match entry.scale {
                    ScalePer::GroupF16 => Scales::F16(scales.as_chunks::<2>().0.get(..count)?),
                    _ => Scales::F32(scales.as_chunks::<4>().0.get(..count)?),
                };
                Some((bytes, scales, codes))
            },
        );
        // The table was checked against the file's length; this is for sizes beyond the address
        // space.
        let Some((bytes, scales, codes)) = parts else {
            return Err(invalid(name, "it does not fit the memory".into()));
        };
        check_hash(
            &format!("tensor {name}"),
            crc32fast::hash(bytes),
            entry.crc32,
        )?;
        if let Some(bad) = scales.values().find(|s| !s.is_finite()) {
            return Err(invalid(name, format!("a scale is {bad}")));
        }
        Ok((entry, scales, codes))
    }

    fn floats(&self, name: &str, shape: &[usize]) -> Result<Vector<'a>, FormatError> {
        let (entry, _, values) = self.get(name, shape)?;
        if entry.encoding()? != Encoding::F32 {
            return Err(invalid(
                name,
                format!("encoding {}, expected f32", entry.encoding),
            ));
        }
        let values = values.as_chunks::<4>().0;
        let mut floats = values.iter().map(|b| f32::from_le_bytes(*b));
        if let Some(bad) = floats.find(|v| !v.is_finite()) {
            return Err(invalid(name, format!("a value is {bad}")));
        }
        Ok(Vector(values))
    }

    fn rms_norm(&self, name: &str, dim: usize) -> Result<Norm<'a>, FormatError> {
        Ok(Norm {
            weight: self.floats(name, &[dim])?,
            bias: None,
        })
    }

    /// Of the residual stream or of a branch.
    fn stream_norm(&self, c: &ModelConfig, name: &str) -> Result<Norm<'a>, FormatError> {
        let bias = || self.floats(&params::bias_name(name), &[c.hidden_size]);
        Ok(Norm {
            bias: (c.norm == NormKind::Layer).then(bias).transpose()?,
            ..self.rms_norm(name, c.hidden_size)?
        })
    }

    fn matrix(&self, m: &params::Matrix) -> Result<Matrix<'a>, FormatError> {
        let (entry, scales, codes) = self.get(&m.name, &[m.rows, m.cols])?;
        let encoding = entry.encoding()?;
        if encoding.mode() != Some(m.mode) {
            let message = format!(
                "encoding {}, but the bit-map says {}",
                entry.encoding, m.mode
            );
            return Err(invalid(&m.name, message));
        }
        let span = m.run_time_group();
        let most = m.rows * (m.cols / span);
        if !(scales.len() <= 1 || scales.len() == most) {
            let message = format!("{} scales, the config asks for {most}", scales.len());
            return Err(invalid(&m.name, message));
        }
        // All ones in the exponent: not finite.
        let bad = match encoding {
            Encoding::F32 => {
                (codes.as_chunks::<4>().0.iter()).any(|b| !f32::from_le_bytes(*b).is_finite())
            }
            Encoding::F16 => (codes.as_chunks::<2>().0.iter()).any(|b| b[1] & 0x7c == 0x7c),
            _ => false,
        };
        if bad {
            return Err(invalid(&m.name, "a value is not finite".into()));
        }
        let row_bytes = codes.len() / m.rows;
        if m.mode.is_quantized() {
            let mut row = vec![0; m.cols];
            for bytes in codes.chunks_exact(row_bytes) {
                encoding.unpack_row(bytes, &mut row, &m.name)?;
            }
        }
        Ok(Matrix {
            mode: m.mode,
            encoding,
            rows: m.rows,
            cols: m.cols,
            span,
            scales,
            codes,
            row_bytes,
            bias: None,
        })
    }

    fn layer(&self, c: &ModelConfig, layer: usize) -> Result<Layer<'a>, FormatError> {
        let name = |part: &str| params::layer_norm_name(layer, part);
        let norm = |part: &str, dim| self.rms_norm(&name(part), dim);
        let stream =
            |here: bool, part: &str| here.then(|| self.stream_norm(c, &name(part))).transpose();
        let (before, after) = (c.norm_placement.before(), c.norm_placement.after());
        let matrix = |kind| {
            let m = params::layer_matrix(c, layer, kind);
            let bias = || self.floats(&params::bias_name(&m.name), &[m.rows]);
            Ok::<_, FormatError>(Matrix {
                bias: c.biases.contains(&kind).then(bias).transpose()?,
                ..self.matrix(&m)?
            })
        };
        let qk_norm = || {
            Ok::<_, FormatError>((
                norm(norms::Q, c.qk_norm_dim(false))?,
                norm(norms::K, c.qk_norm_dim(true))?,
            ))
        };
        let sub_norm = |part, dim| c.use_sub_norm.then(|| norm(part, dim)).transpose();
        Ok(Layer {
            input_norm: stream(before, norms::ATTENTION_INPUT)?,
            q: matrix(MatrixKind::Q)?,
            k: matrix(MatrixKind::K)?,
            v: matrix(MatrixKind::V)?,
            qk_norm: c.use_qk_norm.then(qk_norm).transpose()?,
            attention_sub_norm: sub_norm(norms::ATTENTION_SUB, c.q_dim())?,
            o: matrix(MatrixKind::O)?,
            attention_output_norm: stream(after, norms::ATTENTION_OUTPUT)?,
            mlp_norm: stream(before, norms::MLP_INPUT)?,
            gate: c.use_swiglu.then(|| matrix(MatrixKind::Gate)).transpose()?,
            up: matrix(MatrixKind::Up)?,
            mlp_sub_norm: sub_norm(norms::MLP_SUB, c.intermediate_size)?,
            down: matrix(MatrixKind::Down)?,
            mlp_output_norm: stream(after, norms::MLP_OUTPUT)?,
        })
    }
}

impl<'a> Model<'a> {
    /// Check a whole file: header, checksums, shapes, codes. Allocates for the configuration and
    /// the tensor table only.
    ///
    /// # Errors
    /// What any reader of a damaged or foreign file says.
    pub fn open(file: &'a [u8]) -> Result<Self, BoardError> {
        let first = &file[..file.len().min(HEADER_BYTES)];
        let header = Header::parse(first, file.len() as u64)?;
        // Every end was compared with the file's length, which is a usize.
        let part = |start: u64, end: u64| &file[start as usize..end as usize];
        let metadata: Metadata =
            header.metadata(part(header.metadata.start, header.metadata.end))?;
        let config = metadata.config;
        config.validate()?;
        let tensors = Tensors {
            entries: header.table(part(header.table.start, header.table.end))?,
            data: &file[header.data_offset as usize..],
        };
        let embedding = tensors.matrix(&params::embedding(&config))?;
        Ok(Model {
            embedding,
            positions: if config.use_rope {
                None
            } else {
                let shape = [config.max_seq_len, config.hidden_size];
                Some(tensors.floats(params::POSITIONS, &shape)?)
            },
            layers: (0..config.num_layers)
                .map(|layer| tensors.layer(&config, layer))
                .collect::<Result<_, _>>()?,
            final_norm: tensors.stream_norm(&config, params::FINAL_NORM)?,
            head: if config.tie_word_embeddings {
                embedding
            } else {
                tensors.matrix(&params::lm_head(&config))?
            },
            config,
        })
    }
}
