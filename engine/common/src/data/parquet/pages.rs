//! Pages compressed with Zstandard or gzip, which the Parquet library leaves to libraries in C, or
//! unpacks without a limit. It reads such columns as if they were not compressed; what it finds in
//! them is unpacked here.

use std::io::{Error, ErrorKind, Read};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use parquet::basic::{Compression, CompressionCodec};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader};
use parquet::file::serialized_reader::{SerializedFileReader, SerializedPageReader};
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};

/// How the pages are compressed that are unpacked here.
#[derive(Clone, Copy)]
enum Codec {
    Zstd,
    Gzip,
}

impl Codec {
    fn of(codec: CompressionCodec) -> Option<Self> {
        match codec {
            CompressionCodec::ZSTD => Some(Codec::Zstd),
            CompressionCodec::GZIP => Some(Codec::Gzip),
            _ => None,
        }
    }

    /// Append what `packed` holds, at most `limit` bytes.
    fn unpack(self, packed: &[u8], limit: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
        let before = out.len() as u64;
        // One byte more says that there is more.
        let left = |out: &Vec<u8>| (limit + 1).saturating_sub(out.len() as u64 - before);
        match self {
            Codec::Gzip => {
                MultiGzDecoder::new(packed)
                    .take(left(out))
                    .read_to_end(out)?;
            }
            // A page is one frame of most writers, but may be several.
            Codec::Zstd => {
                let mut rest = packed;
                while !rest.is_empty() && left(out) > 0 {
                    match StreamingDecoder::new(&mut rest) {
                        Ok(frame) => drop(frame.take(left(out)).read_to_end(out)?),
                        Err(FrameDecoderError::ReadFrameHeaderError(
                            ReadFrameHeaderError::SkipFrame { length, .. },
                        )) => rest = rest.get(length as usize..).unwrap_or_default(),
                        Err(e) => return Err(Error::new(ErrorKind::InvalidData, e.to_string())),
                    }
                }
            }
        }
        match left(out) {
            0 => Err(Error::new(
                ErrorKind::InvalidData,
                format!(
                    "a page unpacks to more than {} MB: it is damaged, or made to fill the memory",
                    limit / 1_000_000
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// A Parquet file whose pages may be compressed with Zstandard or gzip, too.
pub(super) struct PackedFile<R: ChunkReader> {
    reader: SerializedFileReader<R>,
    file: Arc<R>,
    /// Bytes that a page may unpack to.
    limit: u64,
}

impl<R: ChunkReader + 'static> PackedFile<R> {
    /// Of two readers of the same file.
    pub(super) fn open([first, second]: [R; 2], limit: u64) -> Result<Self> {
        Ok(PackedFile {
            reader: SerializedFileReader::new(first)?,
            file: Arc::new(second),
            limit,
        })
    }
}

impl<R: ChunkReader + 'static> FileReader for PackedFile<R> {
    fn metadata(&self) -> &ParquetMetaData {
        self.reader.metadata()
    }

    fn num_row_groups(&self) -> usize {
        self.reader.num_row_groups()
    }

    fn get_row_group(&self, i: usize) -> Result<Box<dyn RowGroupReader + '_>> {
        Ok(Box::new(PackedGroup {
            group: self.reader.get_row_group(i)?,
            file: &self.file,
            limit: self.limit,
        }))
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Result<RowIter<'_>> {
        RowIter::from_file(projection, self)
    }
}

struct PackedGroup<'a, R> {
    group: Box<dyn RowGroupReader + 'a>,
    file: &'a Arc<R>,
    limit: u64,
}

impl<R: ChunkReader + 'static> RowGroupReader for PackedGroup<'_, R> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.group.metadata()
    }

    fn num_columns(&self) -> usize {
        self.group.num_columns()
    }

    fn get_column_page_reader(&self, i: usize) -> Result<Box<dyn PageReader>> {
        let column = self.metadata().column(i);
        let Some(codec) = Codec::of(column.compression_codec()) else {
            return self.group.get_column_page_reader(i);
        };
        let as_is = column.clone().into_builder();
        let as_is = as_is.set_compression(Compression::UNCOMPRESSED).build()?;
        let rows = usize::try_from(self.metadata().num_rows())?;
        Ok(Box::new(PackedPages {
            pages: SerializedPageReader::new(self.file.clone(), &as_is, rows, None)?,
            codec,
            limit: self.limit,
        }))
    }

    fn get_column_bloom_filter(&self, i: usize) -> Option<&Sbbf> {
        self.group.get_column_bloom_filter(i)
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Result<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

struct PackedPages<R: ChunkReader> {
    pages: SerializedPageReader<R>,
    codec: Codec,
    limit: u64,
}

impl<R: ChunkReader> PackedPages<R> {
    fn unpacked(&self, mut page: Page) -> Result<Page> {
        // Levels come before what is compressed in pages of version 2, as they are.
        let (buf, levels) = match &mut page {
            Page::DictionaryPage { buf, .. } | Page::DataPage { buf, .. } => (buf, 0),
            Page::DataPageV2 {
                is_compressed: false,
                ..
            } => return Ok(page),
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                ..
            } => {
                *is_compressed = false;
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                (buf, usize::try_from(levels)?)
            }
        };
        let Some((levels, packed)) = buf.split_at_checked(levels) else {
            return Err(ParquetError::General("a page ends in its levels".into()));
        };
        let mut out = levels.to_vec();
        // A page without values may be without a frame, too.
        if !packed.is_empty() {
            self.codec.unpack(packed, self.limit, &mut out)?;
        }
        *buf = out.into();
        Ok(page)
    }
}

impl<R: ChunkReader> Iterator for PackedPages<R> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl<R: ChunkReader> PageReader for PackedPages<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.map(|page| self.unpacked(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        ruzstd::encoding::compress_to_vec(text, level)
    }

    #[test]
    fn pages_of_one_frame_or_several_are_unpacked_up_to_the_limit() {
        let text = b"so it goes, and so it goes on ".repeat(100);
        for (codec, pack) in [
            (Codec::Gzip, gzip as fn(&[u8]) -> Vec<u8>),
            (Codec::Zstd, zstd),
        ] {
            let mut packed = [pack(&text), pack(&text)].concat();
            if matches!(codec, Codec::Zstd) {
                // A frame to be skipped, of three bytes.
                packed.extend(b"\x50\x2a\x4d\x18\x03\0\0\0abc");
            }
            let unpack = |limit: usize| {
                let mut out = b"levels".to_vec();
                let done = codec.unpack(&packed, limit as u64, &mut out);
                done.map(|()| out)
            };
            let whole = [b"levels", &text[..], &text[..]].concat();
            assert_eq!(unpack(2 * text.len()).unwrap(), whole);
            for limit in [0, 100, text.len(), 2 * text.len() - 1] {
                let e = unpack(limit).unwrap_err().to_string();
                assert!(e.contains("more than"), "{e}");
            }
            let cut = &packed[..packed.len() / 3];
            assert!(codec.unpack(cut, 1 << 20, &mut Vec::new()).is_err());
        }
    }
}
