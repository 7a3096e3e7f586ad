//! Reading: header, metadata, table; then tensors in bands of rows, each checked as it comes.

use std::collections::HashMap;
use std::ops::Range;

use ternary_common::bytes::ByteSource;
use ternary_common::platform::{Mapped, par};
use ternary_core::layout::header::{Header, check_hash};
use ternary_core::layout::{
    Encoding, FormatError, HEADER_BYTES, Metadata, TensorEntry, layout, rows_cols,
};
use ternary_core::params::{self, ParamKind};
use ternary_core::quant::tile::ROWS;

/// Bytes read from the source at a time.
const BAND_BYTES: usize = 4 << 20;

/// An opened file: all it says before the tensors.
///
/// ```no_run
/// use ternary_formats::onebit::OneBit;
/// use ternary_common::bytes::FileSource;
///
/// let source = FileSource::open("model.1bit".as_ref())?;
/// let file = pollster::block_on(OneBit::open(&source))?;
/// for tensor in &file.tensors {
///     println!("{} {:?} {} bytes", tensor.name, tensor.shape, tensor.length);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct OneBit {
    pub metadata: Metadata,
    pub tensors: Vec<TensorEntry>,
    data_offset: u64,
}

/// A band of consecutive rows.
#[derive(Debug)]
pub struct TensorRows<'a> {
    pub first: usize,
    /// Whole rows in the tensor's encoding.
    pub bytes: &'a [u8],
    pub row_bytes: usize,
}

async fn read(source: &dyn ByteSource, offset: u64, len: usize) -> Result<Vec<u8>, FormatError> {
    let bytes = source
        .read(offset, len)
        .await
        .map_err(|message| FormatError::Source {
            name: source.name(),
            message,
        })?;
    if bytes.len() != len {
        return Err(FormatError::Truncated {
            what: format!("a read at byte {offset}"),
            needed: len as u64,
            available: bytes.len() as u64,
        });
    }
    Ok(bytes)
}

/// The same bytes where they are mapped, or read.
enum Bytes {
    Mapped(Mapped),
    Read(Vec<u8>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(mapped) => mapped.bytes(),
            Bytes::Read(bytes) => bytes,
        }
    }
}

async fn read_or_map(
    source: &dyn ByteSource,
    offset: u64,
    len: usize,
) -> Result<Bytes, FormatError> {
    match source.mapped(offset, len) {
        Some(mapped) => Ok(Bytes::Mapped(mapped)),
        None => Ok(Bytes::Read(read(source, offset, len).await?)),
    }
}

/// Continue a checksum over `bytes`, in pieces that threads share.
fn hash(hasher: &mut crc32fast::Hasher, bytes: &[u8]) {
    const PIECE: usize = 1 << 18;
    let parts = par::map(bytes.len().div_ceil(PIECE), bytes.len() / 8, |i| {
        let mut part = crc32fast::Hasher::new();
        part.update(&bytes[i * PIECE..bytes.len().min((i + 1) * PIECE)]);
        part
    });
    for part in &parts {
        hasher.combine(part);
    }
}

/// Refuse floats that are not finite: whatever they meet is not either.
pub(crate) fn check_finite(
    encoding: Encoding,
    bytes: &[u8],
    tensor: &str,
) -> Result<(), FormatError> {
    let bad = match encoding {
        Encoding::F32 => bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .find(|v| !v.is_finite()),
        Encoding::F16 => {
            // All ones in the exponent.
            let mut values = bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|b| half::f16::from_le_bytes(*b));
            values.find(|v| !v.is_finite()).map(half::f16::to_f32)
        }
        _ => None,
    };
    match bad {
        None => Ok(()),
        Some(bad) => Err(FormatError::Invalid {
            what: format!("tensor {tensor}"),
            message: format!("a value is {bad}"),
        }),
    }
}

impl OneBit {
    /// Where the rows of a tensor lie, if `source` maps its file. They are unchecked: see
    /// [`read_tensor`](Self::read_tensor).
    pub fn mapped_rows(&self, source: &dyn ByteSource, t: &TensorEntry) -> Option<Mapped> {
        let (_, scale_bytes, data_bytes) = layout(t.encoding().ok()?, &t.shape, t.scale, t.group)?;
        let at = self.data_offset + t.offset + scale_bytes;
        source.mapped(at, usize::try_from(data_bytes).ok()?)
    }

    /// Read and check everything up to the tensors' data.
    pub async fn open(source: &dyn ByteSource) -> Result<Self, FormatError> {
        let file = source.len();
        let first = read(source, 0, (file as usize).min(HEADER_BYTES)).await?;
        let header = Header::parse(&first, file)?;
        let part = |range: &Range<u64>| (range.start, (range.end - range.start) as usize);
        let (at, len) = part(&header.metadata);
        let metadata: Metadata = header.metadata(&read(source, at, len).await?)?;
        metadata.config.validate()?;
        let (at, len) = part(&header.table);
        let file = OneBit {
            metadata,
            tensors: header.table(&read(source, at, len).await?)?,
            data_offset: header.data_offset,
        };
        file.check_tensors()?;
        Ok(file)
    }

    /// Whether every parameter of the config is there, in its shape, its encoding and with as many
    /// scales as can be used. Readers of tensors rely on it.
    fn check_tensors(&self) -> Result<(), FormatError> {
        let entries: HashMap<&str, &TensorEntry> =
            self.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        for p in params::all(&self.metadata.config) {
            let entry = *entries
                .get(p.name.as_str())
                .ok_or_else(|| FormatError::MissingTensor(p.name.clone()))?;
            let invalid = |message: String| FormatError::Invalid {
                what: format!("tensor {}", entry.name),
                message,
            };
            let shape: Vec<u64> = p.shape.iter().map(|n| *n as u64).collect();
            if entry.shape != shape {
                return Err(invalid(format!(
                    "shape {:?}, the config asks for {shape:?}",
                    entry.shape
                )));
            }
            let encoding = entry.encoding()?;
            let ParamKind::Matrix(m) = &p.kind else {
                if encoding != Encoding::F32 {
                    return Err(invalid(format!(
                        "encoding {}, expected f32",
                        entry.encoding
                    )));
                }
                continue;
            };
            if encoding.mode() != Some(m.mode) {
                return Err(invalid(format!(
                    "encoding {}, but the bit-map says {}",
                    entry.encoding, m.mode
                )));
            }
            let most = (m.rows * (m.cols / m.run_time_group())) as u64;
            let scales = layout(encoding, &entry.shape, entry.scale, entry.group);
            let scales = scales.map_or(0, |(count, ..)| count);
            if m.mode.is_quantized() && scales > 1 && scales != most {
                return Err(invalid(format!(
                    "{scales} scales, the config asks for {most}"
                )));
            }
        }
        Ok(())
    }

    /// Bytes of the file before the tensors' data, from which their offsets count.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    pub fn tensor(&self, name: &str) -> Result<&TensorEntry, FormatError> {
        self.tensors
            .iter()
            .find(|t| t.name == name)
            .ok_or_else(|| FormatError::MissingTensor(name.to_owned()))
    }

    /// Read a tensor's scales, then its rows band by band through `rows`; the checksum is verified
    /// at the end, so nothing made from the rows may be used if this fails. Returns the scales.
    pub async fn read_tensor(
        &self,
        source: &dyn ByteSource,
        t: &TensorEntry,
        rows: &mut dyn FnMut(TensorRows) -> Result<(), FormatError>,
    ) -> Result<Vec<f32>, FormatError> {
        let encoding = t.encoding()?;
        let (Some((count, scale_bytes, _)), Some((row_count, cols))) = (
            layout(encoding, &t.shape, t.scale, t.group),
            rows_cols(&t.shape),
        ) else {
            return Err(FormatError::MissingTensor(t.name.clone()));
        };
        let mut hasher = crc32fast::Hasher::new();
        let at = self.data_offset + t.offset;
        let head = read_or_map(source, at, scale_bytes as usize).await?;
        hasher.update(&head);
        let scales = t.scale.read(&head, count as usize);
        if let Some(bad) = scales.iter().find(|s| !s.is_finite()) {
            return Err(FormatError::Invalid {
                what: format!("tensor {}", t.name),
                message: format!("a scale is {bad}"),
            });
        }
        let row_bytes = encoding.row_bytes(cols).unwrap_or(1).max(1) as usize;
        // Whole tile groups, so that a band is a part of the run-time layout.
        let band = (BAND_BYTES / row_bytes).next_multiple_of(ROWS).max(ROWS);
        let mut first = 0usize;
        while first < row_count as usize {
            let n = band.min(row_count as usize - first);
            let from = at + scale_bytes + (first * row_bytes) as u64;
            let bytes = read_or_map(source, from, n * row_bytes).await?;
            hash(&mut hasher, &bytes);
            check_finite(encoding, &bytes, &t.name)?;
            rows(TensorRows {
                first,
                bytes: &bytes,
                row_bytes,
            })?;
            first += n;
        }
        check_hash(&format!("tensor {}", t.name), hasher.finalize(), t.crc32)?;
        Ok(scales)
    }
}

impl TensorRows<'_> {
    /// Integer codes of row `row` of a band.
    pub fn codes(
        &self,
        encoding: Encoding,
        row: usize,
        codes: &mut [i8],
        tensor: &str,
    ) -> Result<(), FormatError> {
        let bytes = &self.bytes[row * self.row_bytes..][..self.row_bytes];
        encoding.unpack_row(bytes, codes, tensor)
    }
}
