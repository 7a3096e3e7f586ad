//! Parquet, how hubs keep data sets: the rows of some columns, as JSON.

#[cfg(feature = "native")]
mod files;
mod pages;

#[cfg(feature = "native")]
pub(super) use files::as_lines;
#[cfg(feature = "native")]
pub use files::rows;

use parquet::basic::CompressionCodec;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, FileReader};
use parquet::record::Field;
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use self::pages::PackedFile;
use super::documents::{FIELDS, MORE_FIELDS};
use crate::error::{Error, Result};

/// How columns may be compressed.
const READ: [CompressionCodec; 4] = [
    CompressionCodec::UNCOMPRESSED,
    CompressionCodec::SNAPPY,
    CompressionCodec::ZSTD,
    CompressionCodec::GZIP,
];

/// What a file may unpack to.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Bytes of its texts.
    pub bytes: u64,
    /// What is said of a file that unpacks to more.
    pub beyond: &'static str,
}

fn unreadable(name: &str, why: impl std::fmt::Display) -> Error {
    Error::Data(format!(
        "{name} cannot be read as Parquet: {why}. Download it again, or write it anew"
    ))
}

/// The rows of a file in memory as JSON lines, with those of the columns that documents have;
/// `limit`: what they may amount to.
///
/// # Errors
/// As of `rows`. On some damaged files the library panics, which is left to the caller.
pub fn lines_of(name: &str, file: Vec<u8>, limit: Limit) -> Result<Vec<u8>> {
    let file = bytes::Bytes::from(file);
    let mut out = Vec::new();
    let mut sink = |row| {
        serde_json::to_writer(&mut out, &Value::Object(row))
            .map_err(|e| Error::Data(format!("{name}: {e}")))?;
        out.push(b'\n');
        Ok(())
    };
    read(
        [file.clone(), file],
        name,
        &document_columns(),
        limit,
        &mut sink,
    )?;
    Ok(out)
}

/// Columns that documents are made of.
fn document_columns() -> Vec<&'static str> {
    [&FIELDS[..], &MORE_FIELDS].concat()
}

fn read<R: ChunkReader + 'static>(
    file: [R; 2],
    name: &str,
    columns: &[&str],
    limit: Limit,
    sink: &mut dyn FnMut(Map<String, Value>) -> Result<()>,
) -> Result<u64> {
    let damaged = |e: ParquetError| unreadable(name, e);
    let reader = PackedFile::open(file, limit.bytes).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema();
    let all = schema.get_fields();
    let wanted: Vec<_> = all
        .iter()
        .filter(|field| columns.contains(&field.name()))
        .cloned()
        .collect();
    if wanted.is_empty() {
        let names: Vec<&str> = all.iter().map(|field| field.name()).collect();
        return Err(Error::Data(format!(
            "{name} has none of the columns {}, but: {}",
            columns.join(", "),
            names.join(", ")
        )));
    }
    let only = Type::group_type_builder(schema.name())
        .with_fields(wanted)
        .build()
        .map_err(damaged)?;
    let named = |column: &ColumnChunkMetaData| column.column_path().parts().first().cloned();
    for column in reader
        .metadata()
        .row_groups()
        .iter()
        .flat_map(|g| g.columns())
    {
        let of = named(column).filter(|of| columns.contains(&of.as_str()));
        let packed = column.compression_codec();
        if let Some(of) = of
            && !READ.contains(&packed)
        {
            return Err(Error::Data(format!(
                "{name}: the column {of} is compressed with {packed}, which is not read here; expected SNAPPY, ZSTD, GZIP or UNCOMPRESSED. Write the file anew, \
                 for example in Python: pandas.read_parquet(\"old.parquet\").to_parquet(\"new.parquet\", compression=\"snappy\")"
            )));
        }
    }
    let (mut count, mut bytes) = (0, 0);
    for row in reader.get_row_iter(Some(only)).map_err(damaged)? {
        let row = row.map_err(damaged)?;
        for (column, field) in row.get_column_iter() {
            if let Field::Bytes(_) = field {
                return Err(Error::Data(format!(
                    "{name}: the column {column} does not hold text, but bytes"
                )));
            }
        }
        let Value::Object(object) = row.to_json_value() else {
            continue;
        };
        bytes += object.values().map(text_bytes).sum::<u64>();
        if bytes > limit.bytes {
            return Err(Error::Data(format!(
                "{name} unpacks to more than {} MB, {}",
                limit.bytes / 1_000_000,
                limit.beyond
            )));
        }
        sink(object)?;
        count += 1;
    }
    Ok(count)
}

/// Bytes of the texts in a value.
fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(values) => values.iter().map(text_bytes).sum(),
        Value::Object(fields) => fields.values().map(text_bytes).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::basic::Compression;
    use parquet::column::writer::ColumnWriter;
    use parquet::data_type::ByteArray;
    use parquet::file::metadata::{ParquetMetaDataBuilder, ParquetMetaDataWriter};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// A file with a text and a number, whose texts are said to be compressed.
    fn file(compression: Compression) -> tempfile::NamedTempFile {
        let schema = "message m { required binary text (UTF8); required int32 n; }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut bytes = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        while let Some(mut column) = group.next_column().unwrap() {
            match column.untyped() {
                ColumnWriter::ByteArrayColumnWriter(texts) => {
                    texts.write_batch(&[ByteArray::from("Hi")], None, None)
                }
                ColumnWriter::Int32ColumnWriter(numbers) => numbers.write_batch(&[1], None, None),
                _ => unreachable!("there are no others"),
            }
            .unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
        let metadata = writer.finish().unwrap();
        drop(writer);
        // The footer once more, behind the first: readers take the last.
        let group = &metadata.row_groups()[0];
        let packed = group.columns()[0].clone().into_builder();
        let packed = packed.set_compression(compression).build().unwrap();
        let columns = vec![packed, group.columns()[1].clone()];
        let group = group.clone().into_builder();
        let group = group.set_column_metadata(columns).build().unwrap();
        let metadata = ParquetMetaDataBuilder::new(metadata.file_metadata().clone())
            .add_row_group(group)
            .build();
        ParquetMetaDataWriter::new(&mut bytes, &metadata)
            .finish()
            .unwrap();
        let kept = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&kept, bytes).unwrap();
        kept
    }

    #[test]
    fn how_a_column_is_compressed_is_told_where_it_cannot_be_read() {
        let read = |compression, columns: &[&str]| {
            let mut found = Vec::new();
            rows(file(compression).path(), "a.parquet", columns, &mut |row| {
                found.push(Value::Object(row));
                Ok(())
            })
            .map(|_| found)
        };
        let plain = read(Compression::UNCOMPRESSED, &["text"]).unwrap();
        assert_eq!(plain, [serde_json::json!({"text": "Hi"})]);
        for (compression, name) in [
            (Compression::BROTLI(Default::default()), "BROTLI"),
            (Compression::LZ4, "LZ4"),
            (Compression::LZ4_RAW, "LZ4_RAW"),
            (Compression::LZO, "LZO"),
        ] {
            let problem = read(compression, &["text"]).unwrap_err().to_string();
            for words in ["column text", name, "SNAPPY", "ZSTD", "GZIP", "to_parquet"] {
                assert!(problem.contains(words), "{words} in {problem}");
            }
            // Columns that are not asked for may be anything.
            assert!(read(compression, &["n"]).is_ok());
        }
        // Pages that are not what the file says of them.
        for compression in [
            Compression::GZIP(Default::default()),
            Compression::ZSTD(Default::default()),
        ] {
            let problem = read(compression, &["text"]).unwrap_err().to_string();
            assert!(problem.starts_with("a.parquet cannot be read"), "{problem}");
        }
    }
}
