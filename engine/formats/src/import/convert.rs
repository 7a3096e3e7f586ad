//! Writing the tensors, in the order in which the files have them: what comes over a network is
//! read once, from front to back. Norms and float matrices are written as they come, 8-bit ones
//! with their scales last, ternary and binary ones whole.

use super::plan::{Found, Plan, row_scale};
use super::{Observer, Part, Planned, Progress};
use crate::onebit::write::f16_bytes;
use crate::onebit::{TensorWriter, Writer, Written};
use crate::source::ImportError;
use crate::source::checkpoint::{BAND, Checkpoint, Lies, SourceTensor};
use crate::source::storage::{Codes, Span};
use ternary_core::config::{ModelConfig, QuantMode};
use ternary_core::layout::Encoding;
use ternary_core::params::{self, Matrix, Param, ParamKind};
use ternary_core::quant::{self, WeightQuant};

const MAX_F16: f32 = 65504.0;

pub(crate) async fn convert(
    c: &Checkpoint<'_>,
    plan: &Plan,
    writer: &mut Writer<'_>,
    observer: &mut dyn Observer,
) -> Result<(), ImportError> {
    let total = writer.file_len();
    let all = params::all(&plan.config);
    let mut order = Vec::with_capacity(all.len());
    for (index, p) in all.iter().enumerate() {
        let t = c.tensor(&p.name)?;
        order.push((t.file, t.offset, index));
    }
    order.sort_unstable();
    let bytes = |writer: &Writer<'_>, index: usize| writer.entries()[index].length;
    let parts = order.iter().map(|(.., index)| Part {
        index: *index,
        name: all[*index].name.clone(),
        mode: match &all[*index].kind {
            ParamKind::Matrix(m) => Some(m.mode),
            _ => None,
        },
        bytes: bytes(writer, *index),
    });
    let there = observer.planned(Planned {
        plan: writer.plan(),
        total,
        parts: parts.collect(),
    });
    let mut done = 0;
    let mut known = vec![false; all.len()];
    for written in there.map_err(ImportError::Input)? {
        writer.take_over(written)?;
        known[written.index] = true;
        done += bytes(writer, written.index);
    }
    for (.., index) in order {
        if known[index] {
            continue;
        }
        let p = &all[index];
        observer.begins(Progress {
            done,
            total,
            tensor: p.name.clone(),
        });
        let written = tensor(c, plan, p, writer.tensor(index)?).await?;
        done += bytes(writer, index);
        observer.written(written).map_err(ImportError::Input)?;
        ternary_common::platform::yield_now().await;
    }
    Ok(())
}

/// One parameter.
async fn tensor(
    c: &Checkpoint<'_>,
    plan: &Plan,
    p: &Param,
    mut out: TensorWriter<'_, '_>,
) -> Result<Written, ImportError> {
    let t = c.tensor(&p.name)?;
    match &p.kind {
        ParamKind::Matrix(m) => matrix(c, plan, t, m, &mut out).await?,
        ParamKind::Norm | ParamKind::Bias | ParamKind::Positions | ParamKind::Adapter => {
            // A shorter context has the first of the positions.
            let rows = if p.shape.len() == 2 { p.shape[0] } else { 1 };
            let mut values = c.floats(t, 0, rows).await?;
            fold(c, plan, p, &mut values);
            out.push(bytemuck::cast_slice(&values)).await?;
        }
    }
    Ok(out.finish()?)
}

/// What of the decoder's arithmetic a norm or a bias takes over.
fn fold(c: &Checkpoint<'_>, plan: &Plan, p: &Param, values: &mut [f32]) {
    if p.kind == ParamKind::Norm && c.folds.norms_from_one {
        values.iter_mut().for_each(|v| *v += 1.0);
    }
    let final_norm = [
        params::FINAL_NORM.to_owned(),
        params::bias_name(params::FINAL_NORM),
    ];
    if c.folds.logit_factor != 1.0 && final_norm.contains(&p.name) {
        values.iter_mut().for_each(|v| *v *= c.folds.logit_factor);
    }
    if p.kind == ParamKind::Bias && c.paired_rows && is_rotated(&p.name) {
        in_halves(values, 1, &plan.config);
    }
}

/// Whether a parameter's rows are those of queries or keys.
fn is_rotated(name: &str) -> bool {
    ["q_proj.", "k_proj."]
        .iter()
        .any(|part| name.contains(part))
}

/// Rows of `width` values of whole heads, of which RoPE rotates the first: those from GGUF's
/// `llama` order (2j + p) to Hugging Face's (p · rotary_dim/2 + j).
fn in_halves<T: Copy>(values: &mut [T], width: usize, config: &ModelConfig) {
    let rotary = config.rotary_dim();
    for head in values.chunks_exact_mut(config.head_dim() * width) {
        let pairs = head[..rotary * width].to_vec();
        for (row, to) in head.chunks_exact_mut(width).take(rotary).enumerate() {
            let (p, j) = (row / (rotary / 2), row % (rotary / 2));
            to.copy_from_slice(&pairs[(2 * j + p) * width..][..width]);
        }
    }
}

async fn matrix(
    c: &Checkpoint<'_>,
    plan: &Plan,
    t: &SourceTensor,
    m: &Matrix,
    out: &mut TensorWriter<'_, '_>,
) -> Result<(), ImportError> {
    let rows = Rows::new(c, t, m, &plan.config).await?;
    match m.mode {
        QuantMode::F32 => {
            for first in (0..m.rows).step_by(rows.band) {
                let values = rows.floats(first).await?;
                out.push(bytemuck::cast_slice(&values)).await?;
            }
        }
        QuantMode::F16 => {
            for first in (0..m.rows).step_by(rows.band) {
                let values = rows.floats(first).await?;
                if let Some(large) = values.iter().find(|v| v.abs() > MAX_F16) {
                    return Err(t.damaged(format!(
                        "a value is {large}, beyond F16; give the matrix another mode in a bit-map"
                    )));
                }
                out.push(&f16_bytes(values.into_iter())).await?;
            }
        }
        QuantMode::EightBit => {
            let mut scales = Vec::with_capacity(m.rows);
            out.leave_scales(m.rows);
            for first in (0..m.rows).step_by(rows.band) {
                let values = rows.floats(first).await?;
                let q = quant::quantize(&values, values.len() / m.cols, m.cols, &m.quant);
                scales.extend(q.scales);
                out.push(bytemuck::cast_slice(&q.codes)).await?;
            }
            out.fill_scales(&scales).await?;
        }
        QuantMode::Ternary | QuantMode::Binary => {
            let found = plan.found.get(&m.name).copied().unwrap_or(Found::Floats);
            let encoding = match m.mode {
                QuantMode::Binary => Encoding::Binary1,
                _ => Encoding::Ternary2,
            };
            // Packed at once: as bytes, the codes of a large embedding are too many.
            let (mut scales, mut bytes) = (Vec::new(), Vec::new());
            let mut put = |codes: Codes| {
                scales.extend(codes.scales);
                for row in codes.codes.chunks_exact(m.cols) {
                    encoding.pack_row(row, &mut bytes);
                }
            };
            match found {
                Found::Codes(mode, _) if mode == m.mode => {
                    for first in (0..m.rows).step_by(rows.band) {
                        put(rows.codes(first).await?);
                    }
                }
                found => put(quantized(&rows, found).await?),
            }
            out.scales(&spread(&scales, m)).await?;
            out.push(&bytes).await?;
        }
    }
    Ok(())
}

/// The codes of a matrix that has floats in the file, or codes of another mode.
async fn quantized(rows: &Rows<'_, '_>, found: Found) -> Result<Codes, ImportError> {
    let m = rows.matrix;
    match found {
        Found::TernaryFloats(span) if m.mode == QuantMode::Ternary => {
            let values = rows.all().await?;
            let scales: Vec<f32> = values.chunks_exact(m.cols).map(row_scale).collect();
            let sign = |v: &f32| (*v > 0.0) as i8 - (*v < 0.0) as i8;
            Ok(Codes {
                codes: values.iter().map(sign).collect(),
                scales: match span {
                    Span::Tensor => vec![row_scale(&scales)],
                    _ => scales,
                },
            })
        }
        _ => {
            let quantizer = WeightQuant {
                group: 0,
                ..m.quant
            };
            let q = quant::quantize(&rows.all().await?, m.rows, m.cols, &quantizer);
            Ok(Codes {
                codes: q.codes,
                scales: q.scales,
            })
        }
    }
}

/// A matrix's scales repeated to the granularity of the file.
fn spread(scales: &[f32], m: &Matrix) -> Vec<f32> {
    let count = m.rows * m.cols / m.quant.span_len(m.rows, m.cols);
    let times = count / scales.len();
    scales
        .iter()
        .flat_map(|s| std::iter::repeat_n(*s, times))
        .collect()
}

/// The rows of a matrix in our order, in bands.
struct Rows<'a, 'c> {
    c: &'a Checkpoint<'c>,
    t: &'a SourceTensor,
    matrix: &'a Matrix,
    factor: f32,
    /// Rows read at a time.
    band: usize,
    /// Of models whose rows of this matrix are in pairs.
    paired: Option<&'a ModelConfig>,
}

impl<'a, 'c> Rows<'a, 'c> {
    async fn new(
        c: &'a Checkpoint<'c>,
        t: &'a SourceTensor,
        matrix: &'a Matrix,
        config: &'a ModelConfig,
    ) -> Result<Self, ImportError> {
        let paired = (c.paired_rows && is_rotated(&matrix.name)).then_some(config);
        let unit = paired.map_or(1, ModelConfig::head_dim);
        let band = match t.storage.block() {
            Some(_) if !matches!(t.lies, Lies::Columns { .. }) => {
                (BAND / matrix.cols / unit).max(1) * unit
            }
            _ => matrix.rows,
        };
        Ok(Rows {
            c,
            t,
            matrix,
            factor: c.factor(&matrix.name).await?,
            band,
            paired,
        })
    }

    /// Codes and scales of the band that begins with row `first`, as the file has them.
    async fn codes(&self, first: usize) -> Result<Codes, ImportError> {
        let n = self.band.min(self.matrix.rows - first);
        let mut codes = self.c.codes(self.t, first, n).await?;
        self.in_halves(&mut codes.codes, self.matrix.cols);
        if codes.scales.len() >= n {
            let width = codes.scales.len() / n;
            self.in_halves(&mut codes.scales, width);
        }
        for scale in &mut codes.scales {
            *scale *= self.factor;
        }
        Ok(codes)
    }

    /// The band that begins with row `first`.
    async fn floats(&self, first: usize) -> Result<Vec<f32>, ImportError> {
        let n = self.band.min(self.matrix.rows - first);
        let mut values = self.c.floats(self.t, first, n).await?;
        if self.factor != 1.0 {
            values.iter_mut().for_each(|v| *v *= self.factor);
        }
        self.in_halves(&mut values, self.matrix.cols);
        Ok(values)
    }

    async fn all(&self) -> Result<Vec<f32>, ImportError> {
        let mut values = Vec::with_capacity(self.matrix.rows * self.matrix.cols);
        for first in (0..self.matrix.rows).step_by(self.band) {
            values.extend(self.floats(first).await?);
        }
        Ok(values)
    }

    fn in_halves<T: Copy>(&self, values: &mut [T], width: usize) {
        if let Some(config) = self.paired {
            in_halves(values, width, config);
        }
    }
}
