//! What a file is by its first bytes, for messages that name it and say which command takes it.

/// A kind of file that is met where another was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gguf,
    OneBit,
    Tokens,
    Safetensors,
    /// A tokenizer.json.
    Tokenizer,
    Parquet,
    Zip,
    Gzip,
    Zstandard,
    Xz,
    Bzip2,
    Pdf,
    Image,
    /// What Git leaves in place of a large file it did not fetch.
    LfsPointer,
    Html,
}

/// Bytes from a file's beginning that [`Kind::of`] wants to see.
pub const HEAD_BYTES: usize = 512;

impl Kind {
    /// The kind of the file that begins with `head`.
    pub fn of(head: &[u8]) -> Option<Kind> {
        const MAGIC: [(&[u8], Kind); 14] = [
            (b"GGUF", Kind::Gguf),
            (&crate::format::MAGIC, Kind::OneBit),
            (b"1BTOKENS", Kind::Tokens),
            (b"PAR1", Kind::Parquet),
            (b"PK\x03\x04", Kind::Zip),
            (b"\x1f\x8b", Kind::Gzip),
            (b"\x28\xb5\x2f\xfd", Kind::Zstandard),
            (b"\xfd7zXZ\0", Kind::Xz),
            (b"BZh", Kind::Bzip2),
            (b"%PDF-", Kind::Pdf),
            (b"\x89PNG", Kind::Image),
            (b"\xff\xd8\xff", Kind::Image),
            (b"GIF8", Kind::Image),
            (b"version https://git-lfs", Kind::LfsPointer),
        ];
        if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Some(*kind);
        }
        // A safetensors file: the length of its JSON header, then the header.
        if head.len() > 9 && head[8] == b'{' && head[5..8] == [0; 3] {
            return Some(Kind::Safetensors);
        }
        let text = head.trim_ascii_start();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let start: Vec<u8> = text.iter().take(14).map(u8::to_ascii_lowercase).collect();
        if start.starts_with(b"<!doctype html") || start.starts_with(b"<html") {
            return Some(Kind::Html);
        }
        let has = |key: &[u8]| text.windows(key.len()).any(|part| part == key);
        if text.first() == Some(&b'{') && has(b"\"truncation\"") && has(b"\"padding\"") {
            return Some(Kind::Tokenizer);
        }
        None
    }

    /// "a GGUF file".
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gguf => "a GGUF file",
            Kind::OneBit => "a .1bit model",
            Kind::Tokens => "a .tokens file",
            Kind::Safetensors => "a safetensors file",
            Kind::Tokenizer => "a tokenizer.json",
            Kind::Parquet => "a Parquet file",
            Kind::Zip => "a zip archive",
            Kind::Gzip => "a gzip file",
            Kind::Zstandard => "a Zstandard file",
            Kind::Xz => "an xz file",
            Kind::Bzip2 => "a bzip2 file",
            Kind::Pdf => "a PDF",
            Kind::Image => "an image",
            Kind::LfsPointer => "a Git LFS pointer, not the file it stands for",
            Kind::Html => "an HTML page",
        }
    }

    /// What to do with it.
    pub fn advice(self) -> &'static str {
        match self {
            Kind::Gguf => {
                "make a model of it with `onebit import --input FILE --output model.1bit`"
            }
            Kind::OneBit => "give it as --model, for example to `onebit chat`",
            Kind::Tokens => {
                "it is read by `onebit train`, `finetune` and `eval`; `onebit inspect` describes it"
            }
            Kind::Safetensors => {
                "import its folder with `onebit import --input FOLDER --output model.1bit`"
            }
            Kind::Tokenizer => "give it as --tokenizer",
            Kind::Parquet => "`onebit download` writes the text column of such files beside them",
            Kind::Zip => "unpack it first",
            Kind::Gzip => "unpack it first: gzip -d, or zcat FILE | onebit … --data-dir -",
            Kind::Zstandard => "unpack it first: zstd -d",
            Kind::Xz => "unpack it first: xz -d",
            Kind::Bzip2 => "unpack it first: bzip2 -d",
            Kind::Pdf => "save its text first, for example with pdftotext",
            Kind::Image => "only texts can be read",
            Kind::LfsPointer => "run `git lfs pull` in its folder to fetch the file",
            Kind::Html => {
                "the download probably failed, or asks you to sign in; download the file again"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        for (head, kind) in [
            (&b"GGUF\x03\0\0\0"[..], Some(Kind::Gguf)),
            (b"\x40\0\0\0\0\0\0\0{\"a\":", Some(Kind::Safetensors)),
            (b"\xef\xbb\xbf<!DOCTYPE html>", Some(Kind::Html)),
            (b"  <HTML lang=en>", Some(Kind::Html)),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                Some(Kind::LfsPointer),
            ),
            (
                b"{\"version\":\"1.0\",\"truncation\":null,\"padding\":null",
                Some(Kind::Tokenizer),
            ),
            (b"Once upon a time", None),
            (b"{\"text\": \"a\"}", None),
            (b"", None),
        ] {
            assert_eq!(Kind::of(head), kind, "{head:?}");
        }
    }
}
