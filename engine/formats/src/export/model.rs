//! A `.1bit` on its way to another program: which decoder it is there, and its weights one after
//! another.

use crate::onebit::OneBit;
use ternary_common::bytes::{ByteSink, ByteSource};
use ternary_core::config::{Activation, MatrixKind, ModelConfig, QuantMode};
use ternary_core::layout::FormatError;
use ternary_core::params::{Matrix, Param, ParamKind};
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

/// The decoders of other programs that a model can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// SiLU, no norms besides a layer's two.
    Llama,
    /// As Llama, with q/k norms.
    Qwen3,
    /// With sub-norms.
    BitNet,
}

/// The decoder that a model is, for `target`.
pub(crate) fn family(target: &'static str, c: &ModelConfig) -> Result<Family, ExportError> {
    let refuse = |what: &str, found: &str, supported: &str| {
        Err(ExportError::Unsupported {
            target,
            what: what.into(),
            found: found.into(),
            supported: supported.into(),
        })
    };
    if let Some((field, value)) = c
        .newer_fields()
        .iter()
        .find(|(name, _)| *name != "head_dim")
    {
        return refuse(field, &value.to_string(), "unset");
    }
    if !c.use_rope {
        return refuse("use_rope", "false", "true");
    }
    if !c.use_swiglu {
        return refuse("use_swiglu", "false", "true");
    }
    match (c.use_sub_norm, c.use_qk_norm, c.activation()) {
        (true, true, _) => refuse(
            "use_sub_norm",
            "true together with use_qk_norm",
            "true without it",
        ),
        (true, false, Activation::Silu | Activation::Relu2) => Ok(Family::BitNet),
        (false, true, Activation::Silu) => Ok(Family::Qwen3),
        (false, false, Activation::Silu) => Ok(Family::Llama),
        (_, _, other) => refuse(
            "activation",
            &format!("{other:?}").to_lowercase(),
            "silu, or relu2 with use_sub_norm",
        ),
    }
}

/// 1/√2 on the branches becomes part of the matrices that end them.
pub(crate) fn residual_factor(c: &ModelConfig, name: &str) -> f32 {
    let ends = [MatrixKind::O, MatrixKind::Down];
    match ends.iter().any(|kind| name.contains(kind.module())) {
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
}

impl Model<'_> {
    pub(crate) fn config(&self) -> &ModelConfig {
        &self.file.metadata.config
    }

    /// A norm, f32.
    pub(crate) async fn floats(&self, p: &Param) -> Result<Vec<f32>, ExportError> {
        let entry = self.file.tensor(&p.name)?;
        Ok(self.file.floats(self.source, entry, p).await?)
    }

    pub(crate) async fn weights(&self, p: &Param, m: &Matrix) -> Result<Weights, ExportError> {
        let entry = self.file.tensor(&p.name)?;
        let factor = residual_factor(self.config(), &p.name);
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
