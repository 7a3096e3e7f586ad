//! A model's weights, as its file has them and as they would be in another precision.

use serde::{Deserialize, Serialize};

use super::explore::Compared;
use super::protocol::Event;
use super::{LoadedModel, StopHandle};
use crate::error::{Error, Result};
use ternary_common::bytes::ByteSource;
use ternary_common::platform;
use ternary_core::config::{LayerBitMap, LayerMode, ModelConfig, QuantMode};
use ternary_core::layout::{Encoding, FormatError, ScalePer, TensorEntry};
use ternary_core::params::{self, Matrix};
use ternary_core::quant::{Quantized, dequantized, quantize};
use ternary_formats::onebit::OneBit;
use ternary_model::{Origin, Remap};

/// Weights of a matrix that cross at once; of a larger one the first rows do.
const MOST_WEIGHTS: usize = 1 << 25;

/// Which of two models weights are read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WeightSource {
    /// The loaded model.
    #[default]
    Model,
    /// The one it is compared with.
    Compared,
}

/// A matrix as its file has it, or as it would be in another precision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Weights {
    /// The parameter's name.
    pub name: String,
    /// Which model's.
    pub from: WeightSource,
    /// The matrix's precision in that model.
    pub mode: QuantMode,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
    /// Rows that are here, from the first on.
    pub shown_rows: usize,
    /// i8 codes, row-major `[shown_rows, columns]`; none of an F16 matrix.
    #[serde(with = "serde_bytes")]
    pub codes: Vec<u8>,
    /// f32 values, little-endian, `[shown_rows, columns]`, of an F16 matrix only.
    #[serde(with = "serde_bytes")]
    pub values: Vec<u8>,
    /// All scales of the matrix; weight = code · scale.
    pub scales: Vec<f32>,
    /// Which weights have a scale in common.
    pub scale_per: ScalePer,
    /// Columns per scale where `scale_per` is a group.
    pub group: usize,
    /// How far the weights are from those of the compared file, or, without one, how far another
    /// precision is from the file's own: the root mean square of what differs over that of the
    /// weights. None where there is nothing to differ from.
    pub error: Option<f64>,
}

/// What a bit-map makes of a matrix, in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MatrixFigures {
    /// The parameter's name.
    pub name: String,
    /// In this map.
    pub mode: QuantMode,
    /// Share of the weights that are 0.
    pub zeros: f64,
    /// Mean size of those that are not.
    pub scale: f64,
    /// As [`Weights::error`].
    pub error: Option<f64>,
}

impl Weights {
    /// What the codes of a row's column are multiplied by.
    pub fn scale(&self, row: usize, column: usize) -> f32 {
        let at = match self.scale_per {
            ScalePer::None => return 1.0,
            ScalePer::Tensor => 0,
            ScalePer::Row => row,
            ScalePer::Group | ScalePer::GroupF16 => {
                let group = self.group.max(1);
                row * (self.columns / group) + column / group
            }
        };
        self.scales.get(at).copied().unwrap_or(1.0)
    }

    /// The weight's code; none of a float.
    pub fn code(&self, row: usize, column: usize) -> Option<i8> {
        let code = self.codes.get(row * self.columns + column);
        code.map(|code| *code as i8)
    }

    /// What the weight multiplies by.
    pub fn value(&self, row: usize, column: usize) -> f32 {
        if let Some(code) = self.code(row, column) {
            return f32::from(code) * self.scale(row, column);
        }
        let at = (row * self.columns + column) * 4;
        let bytes = self.values.get(at..at + 4);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0.0, f32::from_le_bytes)
    }

    /// All that are here, row by row.
    pub fn all_values(&self) -> impl Iterator<Item = f32> + Clone {
        let rows = 0..self.shown_rows;
        rows.flat_map(move |row| (0..self.columns).map(move |column| self.value(row, column)))
    }

    /// Takes the codes and the scales that quantizing `m` gave.
    fn set_codes(&mut self, m: &Matrix, quantized: Quantized) {
        self.codes = bytemuck::cast_slice(&quantized.codes).to_vec();
        self.group = m.cols * m.rows / quantized.scales.len().max(1);
        self.scale_per = match quantized.scales.len() {
            1 => ScalePer::Tensor,
            scales if scales == m.rows => ScalePer::Row,
            _ => ScalePer::Group,
        };
        self.scales = quantized.scales;
    }

    /// How far these weights are from `other`, as [`Weights::error`] has it.
    fn error_from(&self, other: &Weights) -> f64 {
        let (mut differing, mut whole) = (0.0, 0.0);
        for (own, other) in self.all_values().zip(other.all_values()) {
            let (own, other) = (f64::from(own), f64::from(other));
            differing += (own - other) * (own - other);
            whole += other * other;
        }
        match whole > 0.0 {
            true => libm::sqrt(differing / whole),
            false => 0.0,
        }
    }

    fn figures(&self) -> MatrixFigures {
        let (mut count, mut zeros, mut size) = (0usize, 0usize, 0.0);
        for value in self.all_values() {
            count += 1;
            zeros += usize::from(value == 0.0);
            size += f64::from(value.abs());
        }
        MatrixFigures {
            name: self.name.clone(),
            mode: self.mode,
            zeros: zeros as f64 / count.max(1) as f64,
            scale: size / (count - zeros).max(1) as f64,
            error: self.error,
        }
    }
}

/// Codes or values of the first rows of a matrix, and its scales.
pub(super) async fn read(
    source: &dyn ByteSource,
    file: &OneBit,
    entry: &TensorEntry,
    m: &Matrix,
    most: usize,
) -> Result<(Vec<u8>, Vec<f32>), FormatError> {
    let encoding = entry.encoding()?;
    let (rows, columns) = (m.rows, m.cols);
    let quantized = match encoding.mode() {
        Some(mode) if entry.shape == [rows as u64, columns as u64] => mode.is_quantized(),
        _ => {
            let (found, encoding) = (&entry.shape, &entry.encoding);
            return Err(FormatError::Invalid {
                what: format!("tensor {}", entry.name),
                message: format!(
                    "{encoding} of shape {found:?}, expected a matrix of shape {rows} × {columns}"
                ),
            });
        }
    };
    let mut bytes = Vec::new();
    let mut codes = vec![0i8; columns];
    let scales = file
        .read_tensor(source, entry, &mut |band| {
            for r in 0..band.bytes.len() / band.row_bytes {
                if band.first + r >= most {
                    break;
                }
                if quantized {
                    band.codes(encoding, r, &mut codes, &entry.name)?;
                    bytes.extend_from_slice(bytemuck::cast_slice(&codes));
                } else {
                    let row = &band.bytes[r * band.row_bytes..][..band.row_bytes];
                    if encoding == Encoding::F32 {
                        bytes.extend_from_slice(row);
                        continue;
                    }
                    let pairs = row.as_chunks::<2>().0.iter();
                    let values = pairs.map(|b| half::f16::from_le_bytes(*b).to_f32());
                    bytes.extend(values.flat_map(f32::to_le_bytes));
                }
            }
            Ok(())
        })
        .await?;
    Ok((bytes, scales))
}

/// A matrix of a file.
async fn of_file(
    source: &dyn ByteSource,
    file: &OneBit,
    from: WeightSource,
    name: &str,
) -> Result<Weights> {
    let m = matrix(&file.metadata.config, name)?;
    let entry = file.tensor(name)?;
    let mode = entry.encoding()?.mode().unwrap_or(m.mode);
    let shown_rows = m.rows.min((MOST_WEIGHTS / m.cols.max(1)).max(1));
    let (bytes, scales) = read(source, file, entry, &m, shown_rows).await?;
    let (codes, values) = match mode.is_quantized() {
        true => (bytes, Vec::new()),
        false => (Vec::new(), bytes),
    };
    Ok(Weights {
        name: name.to_owned(),
        from,
        mode,
        rows: m.rows,
        columns: m.cols,
        shown_rows,
        codes,
        values,
        scales,
        scale_per: match entry.scale {
            // They are shown as floats either way.
            ScalePer::GroupF16 => ScalePer::Group,
            other => other,
        },
        group: entry.group.unwrap_or(0) as usize,
        error: None,
    })
}

/// The matrix `name` of the loaded model, or of the one it is compared with.
pub(super) async fn weights(
    loaded: &LoadedModel,
    compared: Option<&Compared>,
    from: WeightSource,
    name: &str,
) -> Result<Weights> {
    match from {
        WeightSource::Model => {
            let own = of_file(loaded.source.as_ref(), &loaded.file, from, name).await?;
            against(compared, own).await
        }
        WeightSource::Compared => {
            let with = compared.ok_or(Error::NothingCompared)?;
            of_file(with.source.as_ref(), &with.file, from, name).await
        }
    }
}

/// What training has made of the latents of `m` so far; none of a matrix that is too large to be
/// shown as a whole.
pub(super) fn tuned(m: &Matrix, latents: &[f32]) -> Option<Weights> {
    if m.rows * m.cols > MOST_WEIGHTS {
        return None;
    }
    let mut made = Weights {
        name: m.name.clone(),
        from: WeightSource::Model,
        mode: m.mode,
        rows: m.rows,
        columns: m.cols,
        shown_rows: m.rows,
        codes: Vec::new(),
        values: Vec::new(),
        scales: Vec::new(),
        scale_per: ScalePer::None,
        group: 0,
        error: None,
    };
    made.set_codes(m, quantize(latents, m.rows, m.cols, &m.quant));
    Some(made)
}

/// The matrix `name` of the loaded model in another precision, made as a file of that bit-map
/// would have it.
pub(super) async fn preview(
    loaded: &LoadedModel,
    compared: Option<&Compared>,
    name: &str,
    mode: QuantMode,
) -> Result<Weights> {
    let own = of_file(
        loaded.source.as_ref(),
        &loaded.file,
        WeightSource::Model,
        name,
    )
    .await?;
    if own.mode == mode {
        return against(compared, own).await;
    }
    let trained = &loaded.file.metadata.config;
    let before = matrix(trained, name)?;
    if before.rows * before.cols > MOST_WEIGHTS {
        return Err(Error::TooManyWeights {
            name: name.to_owned(),
            found: before.rows * before.cols,
            most: MOST_WEIGHTS,
        });
    }
    let config = ModelConfig {
        layer_bit_map: Some(everywhere(trained.num_layers, mode)),
        ..trained.clone()
    };
    let wanted = matrix(&config, name)?;
    let latent = loaded.file.latent(loaded.source.as_ref(), &before).await?;
    let values = match Remap::new(trained, &[]).origin(&wanted) {
        Origin::Restored => dequantized(&latent, before.rows, before.cols, &before.quant),
        Origin::Latent => latent,
    };
    let mut made = Weights {
        mode,
        codes: Vec::new(),
        values: Vec::new(),
        scales: Vec::new(),
        scale_per: ScalePer::None,
        ..own.clone()
    };
    if mode.is_quantized() {
        made.set_codes(
            &wanted,
            quantize(&values, wanted.rows, wanted.cols, &wanted.quant),
        );
    } else {
        let as_stored = |value: &f32| match mode {
            QuantMode::F16 => half::f16::from_f32(*value).to_f32(),
            _ => *value,
        };
        let stored = values.iter().map(as_stored);
        made.values = stored.flat_map(f32::to_le_bytes).collect();
    }
    if compared.is_none() {
        made.error = Some(made.error_from(&own));
        return Ok(made);
    }
    against(compared, made).await
}

/// With the error against the compared file, if there is one.
async fn against(compared: Option<&Compared>, mut own: Weights) -> Result<Weights> {
    if let Some(with) = compared {
        let source = with.source.as_ref();
        let other = of_file(source, &with.file, WeightSource::Compared, &own.name).await?;
        own.error = Some(own.error_from(&other));
    }
    Ok(own)
}

/// What `map` makes of these matrices, told one by one until `stop`.
pub(super) async fn figures(
    loaded: &LoadedModel,
    compared: Option<&Compared>,
    (map, names): (&LayerBitMap, &[String]),
    stop: &StopHandle,
    emit: &mut dyn FnMut(Event),
) -> Result<()> {
    let config = ModelConfig {
        layer_bit_map: Some(map.clone()),
        ..loaded.file.metadata.config.clone()
    };
    config.validate()?;
    for name in names {
        if stop.is_set() {
            break;
        }
        let m = matrix(&config, name)?;
        match preview(loaded, compared, &m.name, m.mode).await {
            Ok(weights) => emit(Event::Figures {
                figures: weights.figures(),
            }),
            // The others have figures.
            Err(Error::TooManyWeights { .. }) => {}
            Err(other) => return Err(other),
        }
        platform::yield_now().await;
    }
    Ok(())
}

pub(super) fn matrix(config: &ModelConfig, name: &str) -> Result<Matrix> {
    let found = params::matrices(config).find(|m| m.name == name);
    found.ok_or_else(|| Error::NoMatrix {
        name: name.to_owned(),
        some: params::matrices(config).map(|m| m.name).take(3).collect(),
    })
}

fn everywhere(layers: usize, mode: QuantMode) -> LayerBitMap {
    LayerBitMap {
        embedding: mode,
        layer_modes: vec![LayerMode::Whole(mode); layers],
        lm_head: mode,
    }
}
