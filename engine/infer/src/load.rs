//! Weights from a file onto a backend: each matrix goes from its file encoding to the run-time tile
//! band by band, straight into the backend's memory, so that no tensor is held twice. What lies in
//! a mapped file as the kernels want it is used there.

use crate::error::{Error, Result};
use ternary_backend::Backend;
use ternary_common::bytes::ByteSource;
use ternary_common::bytes::LocalFuture;
use ternary_common::platform::{self, par};
use ternary_core::config::{LoraConfig, ModelConfig};
use ternary_core::layout::{Encoding, FormatError, TensorEntry};
use ternary_core::params::{self, Matrix, ParamKind};
use ternary_core::quant::tile::{TileWriter, data_bytes, rows_are_dense};
use ternary_formats::adapter::{Adapter, base_checksum};
use ternary_formats::onebit::{OneBit, TensorRows};
use ternary_model::adapter_buffer;
use ternary_model::program::BufferKind;

/// Rows of a band that one thread expands at a time.
const PIECE_ROWS: usize = 32;

/// Put all parameters of the file's model on `backend`; `progress` is told the bytes read so far.
/// Returns the bytes of the weights at run time.
pub(super) async fn weights(
    backend: &mut dyn Backend,
    file: &OneBit,
    source: &dyn ByteSource,
    progress: &mut dyn FnMut(u64),
) -> Result<usize> {
    let config: &ModelConfig = &file.metadata.config;
    let (mut done, mut weight_bytes) = (0, 0);
    let in_place = stays_in_the_file(source.len(), platform::available_memory());
    for p in params::all(config) {
        let entry = file.tensor(&p.name)?;
        let shape: Vec<u64> = p.shape.iter().map(|n| *n as u64).collect();
        if entry.shape != shape {
            return Err(invalid(
                entry,
                format!("shape {:?}, the config asks for {shape:?}", entry.shape),
            ));
        }
        weight_bytes += match &p.kind {
            ParamKind::Matrix(m) => matrix(backend, file, source, entry, m, in_place).await?,
            ParamKind::Norm | ParamKind::Bias | ParamKind::Positions | ParamKind::Adapter => {
                floats(backend, file, source, entry).await?
            }
        };
        done += entry.length;
        progress(done);
        platform::yield_now().await;
    }
    Ok(weight_bytes)
}

/// Whether the weights of a file of `bytes` are used where they lie. From memory of their own,
/// which is in huge pages, a token is written up to 1.3 times as fast (docs/results.md); but a file
/// that takes more than half of what memory is `available` stays where the system can drop parts of
/// it. Where nobody says what is available there are no huge pages either.
fn stays_in_the_file(bytes: u64, available: Option<u64>) -> bool {
    available.is_none_or(|available| bytes > available / 2)
}

/// Matrices that answer beside a model's weights, unmerged. A trait, so that a page which never has
/// any is without the code that checks and uploads them.
pub trait LowRankAdapter {
    /// Rank, scale and matrices of the adapter.
    fn lora(&self) -> &LoraConfig;

    /// Put the matrices on `backend`; `number` says which of the model's adapters it is.
    ///
    /// # Errors
    /// They belong to another model than the file's.
    fn upload<'a>(
        &'a self,
        backend: &'a mut dyn Backend,
        file: &'a OneBit,
        source: &'a dyn ByteSource,
        number: usize,
    ) -> LocalFuture<'a, Result<()>>;
}

impl LowRankAdapter for Adapter {
    fn lora(&self) -> &LoraConfig {
        &self.lora
    }

    fn upload<'a>(
        &'a self,
        backend: &'a mut dyn Backend,
        file: &'a OneBit,
        source: &'a dyn ByteSource,
        number: usize,
    ) -> LocalFuture<'a, Result<()>> {
        Box::pin(async move {
            let config = &file.metadata.config;
            self.check(config, base_checksum(config, &file.latents(source).await?))?;
            for p in params::trained(config, Some(&self.lora)) {
                let values = self.tensors.get(&p.name).map_or(&[][..], Vec::as_slice);
                let name = adapter_buffer(BufferKind::Weight, &p.name, Some(number));
                backend.upload(&name, bytemuck::cast_slice(values))?;
            }
            Ok(())
        })
    }
}

fn invalid(entry: &TensorEntry, message: String) -> Error {
    FormatError::Invalid {
        what: format!("tensor {}", entry.name),
        message,
    }
    .into()
}

async fn floats(
    backend: &mut dyn Backend,
    file: &OneBit,
    source: &dyn ByteSource,
    entry: &TensorEntry,
) -> Result<usize> {
    if entry.encoding()? != Encoding::F32 {
        return Err(invalid(
            entry,
            format!("encoding {}, expected f32", entry.encoding),
        ));
    }
    let mut bytes = Vec::new();
    file.read_tensor(source, entry, &mut |rows| {
        bytes.extend_from_slice(rows.bytes);
        Ok(())
    })
    .await?;
    backend.upload(&BufferKind::Weight.named(&entry.name), &bytes)?;
    Ok(bytes.len())
}

async fn matrix(
    backend: &mut dyn Backend,
    file: &OneBit,
    source: &dyn ByteSource,
    entry: &TensorEntry,
    m: &Matrix,
    in_place: bool,
) -> Result<usize> {
    let encoding = entry.encoding()?;
    if encoding.mode() != Some(m.mode) {
        return Err(invalid(
            entry,
            format!(
                "encoding {}, but the bit-map says {}",
                entry.encoding, m.mode
            ),
        ));
    }
    let name = BufferKind::Weight.named(&m.name);
    let mut bytes = data_bytes(m.mode, m.rows, m.cols);
    let adopted = match file.mapped_rows(source, entry) {
        Some(rows) if in_place && rows_are_dense(m.mode, m.cols) => backend.adopt(&name, rows)?,
        _ => false,
    };
    if !adopted {
        backend.reserve(&name, bytes)?;
    }
    let mut failed = None;
    let mut take = |band: TensorRows| {
        if adopted {
            return check(&band, encoding, entry);
        }
        let rows = band.bytes.len() / band.row_bytes;
        let (at, len) = (
            data_bytes(m.mode, band.first, m.cols),
            data_bytes(m.mode, rows, m.cols),
        );
        let mut expanded = Ok(());
        failed = backend
            .upload_part(&name, at, len, &mut |out| {
                expanded = expand(&band, encoding, entry, m, out);
            })
            .err();
        match &failed {
            // Told below, as what it is.
            Some(error) => Err(FormatError::Invalid {
                what: format!("tensor {}", entry.name),
                message: error.to_string(),
            }),
            None => expanded,
        }
    };
    let read = file.read_tensor(source, entry, &mut take).await;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let scales = read?;
    if m.mode.is_quantized() {
        let per_row = m.cols / m.run_time_group();
        let expanded: Vec<f32> = match scales.len() {
            0 => vec![1.0; m.rows * per_row],
            1 => vec![scales[0]; m.rows * per_row],
            n if n == m.rows * per_row => scales,
            n => {
                return Err(invalid(
                    entry,
                    format!("{n} scales, the config asks for {}", m.rows * per_row),
                ));
            }
        };
        backend.upload(
            &BufferKind::Scale.named(&m.name),
            bytemuck::cast_slice(&expanded),
        )?;
        bytes += 4 * expanded.len();
    }
    Ok(bytes)
}

/// What expanding would refuse, in rows that are used where they lie.
fn check(band: &TensorRows, encoding: Encoding, entry: &TensorEntry) -> Result<(), FormatError> {
    const INVALID: u8 = i8::MIN as u8;
    if encoding == Encoding::Int8 && band.bytes.contains(&INVALID) {
        return Err(encoding.invalid(INVALID, &entry.name));
    }
    Ok(())
}

/// A band of rows into the tiles `out`, pieces of it in parallel.
fn expand(
    band: &TensorRows,
    encoding: Encoding,
    entry: &TensorEntry,
    m: &Matrix,
    out: &mut [u8],
) -> Result<(), FormatError> {
    let rows = band.bytes.len() / band.row_bytes;
    let piece_bytes = data_bytes(m.mode, PIECE_ROWS, m.cols);
    let mut results: Vec<Result<(), FormatError>> = Vec::new();
    results.resize_with(rows.div_ceil(PIECE_ROWS), || Ok(()));
    par::pieces2(
        out,
        piece_bytes,
        &mut results,
        1,
        rows * m.cols,
        |i, out, result| {
            let first = i * PIECE_ROWS;
            let count = PIECE_ROWS.min(rows - first);
            let mut tile = TileWriter::over(m.mode, count, m.cols, out);
            let mut codes = Vec::new();
            let mut row = |r: usize| {
                let bytes = &band.bytes[(first + r) * band.row_bytes..][..band.row_bytes];
                match encoding {
                    Encoding::F32 | Encoding::F16 => tile.row_floats(r, bytes),
                    Encoding::Ternary2 => tile
                        .row_ternary2(r, bytes)
                        .map_err(|byte| encoding.invalid(byte, &entry.name))?,
                    _ => {
                        codes.resize(m.cols, 0i8);
                        band.codes(encoding, first + r, &mut codes, &entry.name)?;
                        tile.row(r, &codes);
                    }
                }
                Ok(())
            };
            for out in result {
                *out = (0..count).try_for_each(&mut row);
            }
        },
    );
    results.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::stays_in_the_file;

    #[test]
    fn a_file_is_copied_where_there_is_room_for_it_twice() {
        assert!(stays_in_the_file(1, None));
        assert!(stays_in_the_file(501, Some(1000)));
        assert!(!stays_in_the_file(500, Some(1000)));
    }
}
