//! A `.1bit` on its way to another program: which decoder it is there, and its weights one after
//! another.

use super::family::keeps_residual;
use crate::hf::config::Family;
use crate::onebit::OneBit;
use ternary_common::bytes::{ByteSink, ByteSource};
use ternary_core::config::{MatrixKind, ModelConfig, QuantMode};
use ternary_core::layout::FormatError;
use ternary_core::params::{Matrix, Param, ParamKind, norms};
use ternary_core::quant::Quantized;

/// Why a model cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("{target} cannot hold this model: {what} is {found}; it can where it is {supported}")]
    Unsupported {
        target: &'static str,
        what: String,
        found: String,
        supported: String,
    },
    #[error("the model's tokenizer.json: {0}")]
    Tokenizer(String),
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// What a parameter of this name is multiplied by on its way: a factor of the branches becomes
/// part of what ends them.
pub(crate) fn residual_factor(c: &ModelConfig, family: Family, name: &str) -> f32 {
    let ends: &[&str] = match c.norm_placement.after() {
        true => &[norms::ATTENTION_OUTPUT, norms::MLP_OUTPUT],
        false => &[MatrixKind::O.module(), MatrixKind::Down.module()],
    };
    match !keeps_residual(family) && ends.iter().any(|part| name.contains(part)) {
        true => c.residual_scale(),
        false => 1.0,
    }
}

/// A matrix as the file has it.
pub(crate) enum Weights {
    /// Little-endian f32.
    F32(Vec<u8>),
    /// Little-endian binary16.
    F16(Vec<u8>),
    /// Scales for every `span` weights in a row.
    Codes { q: Quantized, span: usize },
}

/// A `.1bit` being read.
pub(crate) struct Model<'a> {
    pub file: &'a OneBit,
    pub source: &'a dyn ByteSource,
    pub family: Family,
    /// Queries, or their norm where there is one, are multiplied by this.
    pub query_factor: f32,
    /// Norms multiply by 1 + weight there.
    pub norms_from_one: bool,
}

impl Model<'_> {
    pub(crate) fn config(&self) -> &ModelConfig {
        &self.file.metadata.config
    }

    fn factor(&self, name: &str) -> f32 {
        let query = match self.config().use_qk_norm {
            true => norms::Q,
            false => MatrixKind::Q.module(),
        };
        let own = residual_factor(self.config(), self.family, name);
        match name.contains(query) {
            true => own * self.query_factor,
            false => own,
        }
    }

    /// A norm, a bias or positions, f32.
    pub(crate) async fn floats(&self, p: &Param) -> Result<Vec<f32>, ExportError> {
        let entry = self.file.tensor(&p.name)?;
        let mut values = self.file.floats(self.source, entry, p).await?;
        let factor = self.factor(&p.name);
        let shift = f32::from(u8::from(self.norms_from_one && p.kind == ParamKind::Norm));
        if factor != 1.0 || shift != 0.0 {
            values.iter_mut().for_each(|v| *v = *v * factor - shift);
        }
        Ok(values)
    }

    /// Branches of one norm have two of it in the file, which must be the same.
    pub(crate) async fn check_shared_norms(&self) -> Result<(), ExportError> {
        for one in ternary_core::params::all(self.config()) {
            if !one.name.contains(norms::ATTENTION_INPUT) {
                continue;
            }
            let twice = Param {
                name: one.name.replace(norms::ATTENTION_INPUT, norms::MLP_INPUT),
                ..one.clone()
            };
            if self.floats(&one).await? != self.floats(&twice).await? {
                return Err(ExportError::Unsupported {
                    target: "another program",
                    what: "parallel_residual".into(),
                    found: "true, with two norms that differ".into(),
                    supported: "true with one norm for both branches, or false".into(),
                });
            }
        }
        Ok(())
    }

    pub(crate) async fn weights(&self, p: &Param, m: &Matrix) -> Result<Weights, ExportError> {
        let entry = self.file.tensor(&p.name)?;
        let factor = self.factor(&p.name);
        if !m.mode.is_quantized() {
            let values = self.file.floats(self.source, entry, p).await?;
            let values = values.into_iter().map(|v| v * factor);
            return Ok(match m.mode {
                QuantMode::F32 => Weights::F32(values.flat_map(f32::to_le_bytes).collect()),
                _ => Weights::F16(crate::onebit::write::f16_bytes(values)),
            });
        }
        let mut q = self.file.quantized(self.source, entry, m).await?;
        q.scales.iter_mut().for_each(|s| *s *= factor);
        let span = m.quant.span_len(m.rows, m.cols);
        Ok(Weights::Codes { q, span })
    }
}

/// Values in F16, in order.
pub(crate) fn dense(q: &Quantized, span: usize) -> Vec<u8> {
    let values = q.codes.iter().enumerate();
    crate::onebit::write::f16_bytes(values.map(|(i, c)| q.scales[i / span] * f32::from(*c)))
}

/// The matrix that a parameter is.
pub(crate) fn matrix(p: &Param) -> Option<&Matrix> {
    match &p.kind {
        ParamKind::Matrix(m) => Some(m),
        _ => None,
    }
}

/// Bytes one after another into a sink.
pub(crate) struct Stream<'a> {
    pub sink: &'a mut dyn ByteSink,
    pub at: u64,
}

impl Stream<'_> {
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        let written = self.sink.write(self.at, bytes).await;
        written.map_err(|message| FormatError::Sink {
            name: self.sink.name(),
            message,
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}
