//! Reading: header, metadata, table; then tensors in bands of rows, each checked as it comes.

use super::{
    ALIGN, ByteSource, Encoding, FormatError, HEADER_BYTES, MAGIC, MAX_JSON, Metadata, ScalePer,
    TensorEntry, VERSION, layout, rows_cols,
};

/// Bytes read from the source at a time.
const BAND_BYTES: usize = 4 << 20;

/// An opened file: all it says before the tensors.
///
/// ```no_run
/// use ternary_core::format::OneBit;
/// use ternary_core::platform::FileSource;
///
/// let source = FileSource::open("model.1bit".as_ref())?;
/// let file = pollster::block_on(OneBit::open(&source))?;
/// for tensor in &file.tensors {
///     println!("{} {:?} {} bytes", tensor.name, tensor.shape, tensor.length);
/// }
/// # Ok::<(), ternary_core::Error>(())
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

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | u64::from(u32_at(b, at + 4)) << 32
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

fn check(what: &str, bytes: &[u8], expected: u32) -> Result<(), FormatError> {
    let found = crc32fast::hash(bytes);
    if found == expected {
        return Ok(());
    }
    Err(FormatError::Checksum {
        what: what.to_owned(),
        found,
        expected,
    })
}

impl OneBit {
    /// Read and check everything up to the tensors' data.
    pub async fn open(source: &dyn ByteSource) -> Result<Self, FormatError> {
        let file = source.len();
        let first = read(source, 0, (file as usize).min(HEADER_BYTES)).await?;
        if first.len() < 8 || first[..8] != MAGIC {
            let found: Vec<String> = first.iter().take(8).map(|b| format!("{b:02x}")).collect();
            return Err(FormatError::Magic {
                found: if found.is_empty() {
                    "nothing (it is empty)".into()
                } else {
                    found.join(" ")
                },
            });
        }
        let truncated = |what: &str, needed: u64| FormatError::Truncated {
            what: what.to_owned(),
            needed,
            available: file,
        };
        if first.len() < HEADER_BYTES {
            return Err(truncated("the header", HEADER_BYTES as u64));
        }
        let version = u32_at(&first, 8);
        if version == 0 || version > VERSION {
            return Err(FormatError::Version { found: version });
        }
        check("the header", &first[..56], u32_at(&first, 56))?;
        let (meta_len, table_len) = (u64_at(&first, 16), u64_at(&first, 24));
        let (data_offset, file_len) = (u64_at(&first, 32), u64_at(&first, 40));
        if file_len != file {
            return Err(truncated("the whole file", file_len));
        }
        let json_end = (HEADER_BYTES as u64)
            .checked_add(meta_len)
            .and_then(|n| n.checked_add(table_len));
        if meta_len > MAX_JSON
            || table_len > MAX_JSON
            || json_end.is_none_or(|end| end > data_offset)
            || data_offset > file
            || !data_offset.is_multiple_of(ALIGN as u64)
        {
            return Err(FormatError::Invalid {
                what: "the header".into(),
                message: format!(
                    "metadata of {meta_len} and table of {table_len} bytes do not fit before the data at {data_offset} in a file of {file}"
                ),
            });
        }
        let meta = read(source, HEADER_BYTES as u64, meta_len as usize).await?;
        check("the metadata", &meta, u32_at(&first, 48))?;
        let table = read(source, HEADER_BYTES as u64 + meta_len, table_len as usize).await?;
        check("the tensor table", &table, u32_at(&first, 52))?;
        let json = |what: &str, e: serde_json::Error| FormatError::Invalid {
            what: what.to_owned(),
            message: e.to_string(),
        };
        let metadata: Metadata =
            serde_json::from_slice(&meta).map_err(|e| json("the metadata", e))?;
        metadata.config.validate()?;
        let tensors: Vec<TensorEntry> =
            serde_json::from_slice(&table).map_err(|e| json("the tensor table", e))?;
        let one_bit = OneBit {
            metadata,
            tensors,
            data_offset,
        };
        for t in &one_bit.tensors {
            one_bit.check_entry(t, file - data_offset)?;
        }
        Ok(one_bit)
    }

    fn check_entry(&self, t: &TensorEntry, data_bytes: u64) -> Result<(), FormatError> {
        let encoding = encoding(t)?;
        let invalid = |message: String| FormatError::Invalid {
            what: format!("tensor {}", t.name),
            message,
        };
        let Some((_, scale_bytes, code_bytes)) = layout(encoding, &t.shape, t.scale, t.group)
        else {
            return Err(invalid(format!(
                "impossible shape {:?} with scale {:?} and group {:?}",
                t.shape, t.scale, t.group
            )));
        };
        let integer = !matches!(encoding, Encoding::F16 | Encoding::F32);
        if !integer && t.scale != ScalePer::None {
            return Err(invalid(format!("{} values take no scale", t.encoding)));
        }
        if encoding == Encoding::Int8 && t.scale == ScalePer::None {
            return Err(invalid("int8 values need a scale".into()));
        }
        if scale_bytes.checked_add(code_bytes) != Some(t.length) {
            return Err(invalid(format!(
                "{} bytes; shape {:?} needs {scale_bytes} of scales and {code_bytes} of values",
                t.length, t.shape
            )));
        }
        if !t.offset.is_multiple_of(ALIGN as u64) {
            return Err(invalid(format!(
                "offset {} is not a multiple of {ALIGN}",
                t.offset
            )));
        }
        if t.offset
            .checked_add(t.length)
            .is_none_or(|end| end > data_bytes)
        {
            return Err(FormatError::Truncated {
                what: format!("tensor {}", t.name),
                needed: t.offset.saturating_add(t.length),
                available: data_bytes,
            });
        }
        Ok(())
    }

    pub fn tensor(&self, name: &str) -> Result<&TensorEntry, FormatError> {
        self.tensors
            .iter()
            .find(|t| t.name == name)
            .ok_or_else(|| FormatError::MissingTensor(name.to_owned()))
    }

    /// Read a tensor's scales, then its rows band by band through `rows`; the checksum is verified at the end, so nothing made
    /// from the rows may be used if this fails. Returns the scales.
    pub async fn read_tensor(
        &self,
        source: &dyn ByteSource,
        t: &TensorEntry,
        rows: &mut dyn FnMut(TensorRows) -> Result<(), FormatError>,
    ) -> Result<Vec<f32>, FormatError> {
        let encoding = encoding(t)?;
        let (Some((count, scale_bytes, _)), Some((row_count, cols))) = (
            layout(encoding, &t.shape, t.scale, t.group),
            rows_cols(&t.shape),
        ) else {
            return Err(FormatError::MissingTensor(t.name.clone()));
        };
        let mut hasher = crc32fast::Hasher::new();
        let at = self.data_offset + t.offset;
        let head = read(source, at, scale_bytes as usize).await?;
        hasher.update(&head);
        let scales: Vec<f32> = head[..4 * count as usize]
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        if let Some(bad) = scales.iter().find(|s| !s.is_finite()) {
            return Err(FormatError::Invalid {
                what: format!("tensor {}", t.name),
                message: format!("a scale is {bad}"),
            });
        }
        let row_bytes = encoding.row_bytes(cols).unwrap_or(1).max(1) as usize;
        let band = (BAND_BYTES / row_bytes).max(1);
        let mut first = 0usize;
        while first < row_count as usize {
            let n = band.min(row_count as usize - first);
            let from = at + scale_bytes + (first * row_bytes) as u64;
            let bytes = read(source, from, n * row_bytes).await?;
            hasher.update(&bytes);
            rows(TensorRows {
                first,
                bytes: &bytes,
                row_bytes,
            })?;
            first += n;
        }
        let found = hasher.finalize();
        if found != t.crc32 {
            return Err(FormatError::Checksum {
                what: format!("tensor {}", t.name),
                found,
                expected: t.crc32,
            });
        }
        Ok(scales)
    }
}

pub(super) fn encoding(t: &TensorEntry) -> Result<Encoding, FormatError> {
    Encoding::parse(&t.encoding).ok_or_else(|| FormatError::Encoding {
        tensor: t.name.clone(),
        found: t.encoding.clone(),
    })
}

impl TensorEntry {
    pub fn encoding(&self) -> Result<Encoding, FormatError> {
        encoding(self)
    }
}

impl Encoding {
    /// Integer codes of row `row` of a band.
    pub fn row_codes(
        self,
        rows: &TensorRows,
        row: usize,
        codes: &mut [i8],
        tensor: &str,
    ) -> Result<(), FormatError> {
        let bytes = &rows.bytes[row * rows.row_bytes..][..rows.row_bytes];
        self.unpack_row(bytes, codes, tensor)
    }
}
