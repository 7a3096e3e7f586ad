//! A file's weights as the latents that training continues from.

use crate::onebit::OneBit;
use ternary_common::bytes::ByteSource;
use ternary_core::config::QuantMode;
use ternary_core::layout::{Encoding, FormatError, TensorEntry};
use ternary_core::params::{self, Matrix, Param, ParamKind};
use ternary_core::quant::Quantized;
use ternary_core::rng::Rng;
use ternary_model::Parameters;

fn invalid(entry: &TensorEntry, message: String) -> FormatError {
    FormatError::Invalid {
        what: format!("tensor {}", entry.name),
        message,
    }
}

impl OneBit {
    /// Every parameter as f32: norms and float matrices as they are, others as latents that
    /// quantize to the file's codes and scales, far from where codes change (see
    /// [`WeightQuant::latents`](ternary_model::program::WeightQuant::latents)).
    ///
    /// # Errors
    /// A damaged file, one that is not as its config says, and codes that their quantizer cannot
    /// give.
    pub async fn latents(&self, source: &dyn ByteSource) -> Result<Parameters, FormatError> {
        self.parameters(source, None).await
    }

    /// As [`latents`](Self::latents), but where training leaves latents; `seed` decides (see
    /// [`WeightQuant::drawn_latents`](ternary_model::program::WeightQuant::drawn_latents)). What a
    /// training of the matrices starts from.
    ///
    /// # Errors
    /// As [`latents`](Self::latents).
    pub async fn drawn_latents(
        &self,
        source: &dyn ByteSource,
        seed: u64,
    ) -> Result<Parameters, FormatError> {
        self.parameters(source, Some(seed)).await
    }

    async fn parameters(
        &self,
        source: &dyn ByteSource,
        seed: Option<u64>,
    ) -> Result<Parameters, FormatError> {
        let config = &self.metadata.config;
        let mut parameters = Parameters::new();
        for p in params::all(config) {
            let entry = self.tensor(&p.name)?;
            let shape: Vec<u64> = p.shape.iter().map(|n| *n as u64).collect();
            if entry.shape != shape {
                let found = &entry.shape;
                return Err(invalid(
                    entry,
                    format!("shape {found:?}, the config asks for {shape:?}"),
                ));
            }
            let values = match &p.kind {
                ParamKind::Matrix(m) => self.matrix(source, m, seed).await?,
                _ => self.floats(source, entry, &p).await?,
            };
            parameters.insert(p.name, values);
        }
        Ok(parameters)
    }

    /// One matrix of the [`latents`](Self::latents).
    ///
    /// # Errors
    /// As for all of them.
    pub async fn latent(
        &self,
        source: &dyn ByteSource,
        m: &Matrix,
    ) -> Result<Vec<f32>, FormatError> {
        self.matrix(source, m, None).await
    }

    /// Drawn where there is a seed, else settled.
    async fn matrix(
        &self,
        source: &dyn ByteSource,
        m: &Matrix,
        seed: Option<u64>,
    ) -> Result<Vec<f32>, FormatError> {
        let entry = self.tensor(&m.name)?;
        if !m.mode.is_quantized() {
            let p = Param {
                name: m.name.clone(),
                shape: vec![m.rows, m.cols],
                kind: ParamKind::Matrix(m.clone()),
            };
            return self.floats(source, entry, &p).await;
        }
        let q = self.quantized(source, entry, m).await?;
        let clip = self.metadata.config.latent_clip_max_training;
        let latents = match seed {
            Some(seed) => {
                let mut rng = Rng::named(seed, &m.name);
                m.quant.drawn_latents(&q, m.rows, m.cols, clip, &mut rng)
            }
            None => m.quant.latents(&q, m.rows, m.cols, clip),
        };
        latents.ok_or_else(|| {
            let message =
                "its codes cannot come from its quantizer; train from the checkpoint instead";
            invalid(entry, message.into())
        })
    }

    pub(crate) async fn quantized(
        &self,
        source: &dyn ByteSource,
        entry: &TensorEntry,
        m: &Matrix,
    ) -> Result<Quantized, FormatError> {
        let encoding = entry.encoding()?;
        if encoding.mode() != Some(m.mode) {
            let message = format!(
                "encoding {}, but the bit-map says {}",
                entry.encoding, m.mode
            );
            return Err(invalid(entry, message));
        }
        let mut codes = vec![0i8; m.rows * m.cols];
        let scales = self
            .read_tensor(source, entry, &mut |rows| {
                for r in 0..rows.bytes.len() / rows.row_bytes {
                    let codes = &mut codes[(rows.first + r) * m.cols..][..m.cols];
                    rows.codes(encoding, r, codes, &entry.name)?;
                }
                Ok(())
            })
            .await?;
        let expected = codes.len() / m.quant.span_len(m.rows, m.cols).max(1);
        let scales = if m.quant.scaled {
            scales
        } else {
            vec![1.0; expected]
        };
        if scales.len() != expected {
            let found = scales.len();
            return Err(invalid(
                entry,
                format!("{found} scales, the config asks for {expected}"),
            ));
        }
        Ok(Quantized { codes, scales })
    }

    pub(crate) async fn floats(
        &self,
        source: &dyn ByteSource,
        entry: &TensorEntry,
        p: &Param,
    ) -> Result<Vec<f32>, FormatError> {
        let encoding = entry.encoding()?;
        let expected = match &p.kind {
            ParamKind::Matrix(m) if m.mode == QuantMode::F16 => Encoding::F16,
            _ => Encoding::F32,
        };
        if encoding != expected {
            let message = format!("encoding {}, expected {}", entry.encoding, expected.name());
            return Err(invalid(entry, message));
        }
        let mut bytes = Vec::new();
        self.read_tensor(source, entry, &mut |rows| {
            bytes.extend_from_slice(rows.bytes);
            Ok(())
        })
        .await?;
        Ok(match encoding {
            Encoding::F16 => {
                let pairs = bytes.as_chunks::<2>().0.iter();
                pairs
                    .map(|b| half::f16::from_le_bytes(*b).to_f32())
                    .collect()
            }
            _ => {
                let words = bytes.as_chunks::<4>().0.iter();
                words.map(|b| f32::from_le_bytes(*b)).collect()
            }
        })
    }
}
