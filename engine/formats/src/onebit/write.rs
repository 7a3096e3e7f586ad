//! Writing: a model's parameters, quantized as its bit-map says.

use std::collections::HashMap;

use ternary_core::config::{LayerBitMap, ModelConfig, QuantMode};
use ternary_core::layout::{
    ALIGN, Encoding, FormatError, HEADER_BYTES, MAGIC, Metadata, ScalePer, TensorEntry, VERSION,
    layout,
};
use ternary_core::params::{self, Matrix, ParamKind};
use ternary_core::quant::{Quantized, quantize};

/// How ternary matrices are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// 2 bits a weight.
    Ternary2,
    /// 1.6 bits a weight: a 20 % smaller body, a little slower to load.
    Base3,
    /// As [`Ternary2`](Self::Ternary2), with F16 scales where groups have them: for scales that F16
    /// holds, as those of GGUF's blocks.
    HalfScales,
}

/// Whether matrices keep their mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dense {
    /// As the bit-map says.
    No,
    /// De-quantized to F16, and the bit-map says so: for comparison with float engines.
    Yes,
}

struct Tensor {
    entry: TensorEntry,
    bytes: Vec<u8>,
}

fn scale_per(m: &Matrix, packing: Packing) -> (ScalePer, Option<u64>) {
    let q = &m.quant;
    match (q.scaled, q.group) {
        (false, _) => (ScalePer::None, None),
        (true, 0) => (ScalePer::Tensor, None),
        (true, g) if g == m.cols => (ScalePer::Row, None),
        (true, g) if packing == Packing::HalfScales => (ScalePer::GroupF16, Some(g as u64)),
        (true, g) => (ScalePer::Group, Some(g as u64)),
    }
}

/// Scales as a tensor has them before its values.
pub(super) fn scale_bytes(per: ScalePer, scales: &[f32]) -> Vec<u8> {
    let mut bytes = match per {
        ScalePer::None => Vec::new(),
        ScalePer::GroupF16 => f16_bytes(scales.iter().copied()),
        _ => scales.iter().flat_map(|s| s.to_le_bytes()).collect(),
    };
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    bytes
}

pub(crate) fn f16_bytes(values: impl Iterator<Item = f32>) -> Vec<u8> {
    // Values beyond F16's range saturate: an infinity would poison every sum it meets.
    values
        .flat_map(|v| half::f16::from_f32(v.clamp(-65504.0, 65504.0)).to_le_bytes())
        .collect()
}

/// De-quantized values of a matrix.
fn dequantize(m: &Matrix, q: &Quantized) -> Vec<f32> {
    let span = m.quant.span_len(m.rows, m.cols);
    q.codes
        .iter()
        .enumerate()
        .map(|(i, c)| q.scales[i / span] * f32::from(*c))
        .collect()
}

fn matrix_encoding(mode: QuantMode, packing: Packing) -> Encoding {
    match (mode, packing) {
        (QuantMode::F32, _) => Encoding::F32,
        (QuantMode::F16, _) => Encoding::F16,
        (QuantMode::EightBit, _) => Encoding::Int8,
        (QuantMode::Binary, _) => Encoding::Binary1,
        (QuantMode::Ternary, Packing::Base3) => Encoding::TernaryBase3,
        (QuantMode::Ternary, Packing::Ternary2 | Packing::HalfScales) => Encoding::Ternary2,
    }
}

/// How a matrix is stored: encoding, scales, and the bytes of both.
fn matrix_layout(m: &Matrix, packing: Packing) -> (Encoding, ScalePer, Option<u64>, u64) {
    let encoding = matrix_encoding(m.mode, packing);
    let (scale, group) = match m.mode.is_quantized() {
        true => scale_per(m, packing),
        false => (ScalePer::None, None),
    };
    let shape = [m.rows as u64, m.cols as u64];
    let bytes =
        layout(encoding, &shape, scale, group).map_or(0, |(_, scales, codes)| scales + codes);
    (encoding, scale, group, bytes)
}

/// Bytes of a matrix in a file, its padding included.
pub fn stored_bytes(m: &Matrix, packing: Packing) -> u64 {
    let (.., bytes) = matrix_layout(m, packing);
    bytes.next_multiple_of(ALIGN as u64)
}

/// Bytes of the file that [`encode`] writes for this metadata, to within a few: checksums are of
/// varying length.
pub fn encoded_len(metadata: &Metadata, packing: Packing) -> Result<u64, FormatError> {
    let mut metadata = metadata.clone();
    metadata.config.layer_bit_map = Some(metadata.config.bit_map());
    let entries = planned(&metadata.config, packing);
    let end = entries.last().map_or(0, |t| t.offset + t.length);
    let (meta, table) = json_parts(&metadata, &entries.iter().collect::<Vec<_>>())?;
    Ok(data_offset(&meta, &table) + end)
}

/// The tensor table of a model in its bit-map, with offsets, and in place of every checksum the
/// longest there is.
pub(super) fn planned(config: &ModelConfig, packing: Packing) -> Vec<TensorEntry> {
    let mut next = 0u64;
    params::all(config)
        .into_iter()
        .map(|p| {
            let (encoding, scale, group, length) = match &p.kind {
                ParamKind::Matrix(m) => matrix_layout(m, packing),
                ParamKind::Norm | ParamKind::Bias | ParamKind::Positions | ParamKind::Adapter => {
                    (Encoding::F32, ScalePer::None, None, 4 * p.len() as u64)
                }
            };
            let offset = next;
            next = (offset + length).next_multiple_of(ALIGN as u64);
            TensorEntry {
                name: p.name,
                encoding: encoding.name().to_owned(),
                shape: p.shape.iter().map(|n| *n as u64).collect(),
                scale,
                group,
                offset,
                length,
                crc32: u32::MAX,
            }
        })
        .collect()
}

/// Where the data begins behind the two JSON parts.
pub(super) fn data_offset(metadata: &[u8], table: &[u8]) -> u64 {
    (HEADER_BYTES + metadata.len() + table.len()).next_multiple_of(ALIGN) as u64
}

/// Header, metadata and table of a file of `file_len` bytes.
pub(super) fn head(metadata: &[u8], table: &[u8], file_len: u64) -> Vec<u8> {
    let data_offset = data_offset(metadata, table);
    let mut out = Vec::with_capacity(data_offset as usize);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for n in [
        metadata.len() as u64,
        table.len() as u64,
        data_offset,
        file_len,
    ] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    out.extend_from_slice(&crc32fast::hash(metadata).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(table).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(metadata);
    out.extend_from_slice(table);
    out.resize(data_offset as usize, 0);
    out
}

/// The two JSON parts of a file.
pub(super) fn json_parts(
    metadata: &Metadata,
    entries: &[&TensorEntry],
) -> Result<(Vec<u8>, Vec<u8>), FormatError> {
    let invalid = |what: &str, e: serde_json::Error| FormatError::Invalid {
        what: what.to_owned(),
        message: e.to_string(),
    };
    let meta = serde_json::to_vec(metadata).map_err(|e| invalid("the metadata", e))?;
    let table = serde_json::to_vec(entries).map_err(|e| invalid("the tensor table", e))?;
    Ok((meta, table))
}

fn matrix_tensor(m: &Matrix, latent: &[f32], packing: Packing, dense: Dense) -> Tensor {
    let shape = vec![m.rows as u64, m.cols as u64];
    let float = |bytes: Vec<u8>| (Encoding::F16, ScalePer::None, None, bytes);
    let (encoding, scale, group, bytes) = match (m.mode, dense) {
        (QuantMode::F32, Dense::No) => {
            let bytes = latent.iter().flat_map(|v| v.to_le_bytes()).collect();
            (Encoding::F32, ScalePer::None, None, bytes)
        }
        (QuantMode::F32 | QuantMode::F16, _) => float(f16_bytes(latent.iter().copied())),
        (_, Dense::Yes) => {
            let q = quantize(latent, m.rows, m.cols, &m.quant);
            float(f16_bytes(dequantize(m, &q).into_iter()))
        }
        (mode, Dense::No) => {
            let q = quantize(latent, m.rows, m.cols, &m.quant);
            let encoding = matrix_encoding(mode, packing);
            let (scale, group) = scale_per(m, packing);
            let mut bytes = scale_bytes(scale, &q.scales);
            for row in q.codes.chunks_exact(m.cols) {
                encoding.pack_row(row, &mut bytes);
            }
            (encoding, scale, group, bytes)
        }
    };
    tensor(&m.name, encoding, shape, scale, group, bytes)
}

fn tensor(
    name: &str,
    encoding: Encoding,
    shape: Vec<u64>,
    scale: ScalePer,
    group: Option<u64>,
    bytes: Vec<u8>,
) -> Tensor {
    Tensor {
        entry: TensorEntry {
            name: name.to_owned(),
            encoding: encoding.name().to_owned(),
            shape,
            scale,
            group,
            offset: 0,
            length: bytes.len() as u64,
            crc32: crc32fast::hash(&bytes),
        },
        bytes,
    }
}

/// A whole file from f32 parameters (latents) by name.
pub fn encode(
    mut metadata: Metadata,
    parameters: &HashMap<String, Vec<f32>>,
    packing: Packing,
    dense: Dense,
) -> Result<Vec<u8>, FormatError> {
    metadata.config.validate()?;
    let mut tensors = Vec::new();
    for p in params::all(&metadata.config) {
        let values = parameters
            .get(&p.name)
            .filter(|v| v.len() == p.len())
            .ok_or_else(|| FormatError::MissingTensor(p.name.clone()))?;
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            return Err(FormatError::Invalid {
                what: format!("tensor {}", p.name),
                message: format!("a value is {bad}; the model cannot be exported"),
            });
        }
        tensors.push(match &p.kind {
            ParamKind::Matrix(m) => matrix_tensor(m, values, packing, dense),
            ParamKind::Norm | ParamKind::Bias | ParamKind::Positions | ParamKind::Adapter => {
                tensor(
                    &p.name,
                    Encoding::F32,
                    p.shape.iter().map(|n| *n as u64).collect(),
                    ScalePer::None,
                    None,
                    values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                )
            }
        });
    }
    let map = match dense {
        Dense::No => metadata.config.bit_map(),
        Dense::Yes => LayerBitMap::sandwich(metadata.config.num_layers, QuantMode::F16),
    };
    metadata.config.layer_bit_map = Some(map);
    assemble(&metadata, tensors)
}

fn assemble(metadata: &Metadata, mut tensors: Vec<Tensor>) -> Result<Vec<u8>, FormatError> {
    let mut offset = 0u64;
    for t in &mut tensors {
        t.entry.offset = offset;
        offset = (offset + t.entry.length).next_multiple_of(ALIGN as u64);
    }
    let entries: Vec<&TensorEntry> = tensors.iter().map(|t| &t.entry).collect();
    let (meta, table) = json_parts(metadata, &entries)?;
    let data_offset = data_offset(&meta, &table);
    let end = tensors
        .last()
        .map_or(0, |t| t.entry.offset + t.entry.length);
    let mut out = head(&meta, &table, data_offset + end);
    out.reserve_exact(end as usize);
    for t in &tensors {
        out.resize((data_offset + t.entry.offset) as usize, 0);
        out.extend_from_slice(&t.bytes);
    }
    Ok(out)
}
