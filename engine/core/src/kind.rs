//! What a file is, by its first bytes: whatever it is called, and for messages about files that are
//! something else.

use alloc::{borrow::ToOwned, format, string::String};

/// First bytes of every `.1bit` file: a byte with the high bit set, the name, and line ends that a
/// text-mode transfer would spoil.
pub const MAGIC: [u8; 8] = *b"\x891BIT\r\n\x1a";

/// A kind of file that people give where another is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A model of this program.
    OneBit,
    /// A model of llama.cpp.
    Gguf,
    /// Tensors, as Hugging Face publishes them.
    Safetensors,
    /// Token ids, made by `onebit tokenize`.
    Tokens,
    /// What a clone without Git LFS has in place of a large file.
    LfsPointer,
    /// A web page, where the file was behind a login or is gone.
    Html,
    /// What a hub answers in place of a file.
    ErrorText,
    /// PyTorch's files are archives.
    Zip,
    /// Packed, by gzip or another: its first bytes do not tell of what.
    Packed(Packer),
    /// A table, as data sets are published in.
    Parquet,
    /// A document whose text would have to be extracted.
    Pdf,
    /// A picture: PNG, JPEG or GIF.
    Image,
    /// GGML and its kin, which GGUF replaced in August 2023.
    Ggml,
    /// What a store of files answers in place of one.
    Xml,
    /// Not a single byte.
    Empty,
    /// Nothing that its first bytes tell.
    Other,
}

/// Programs that pack single files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packer {
    /// `.gz`.
    Gzip,
    /// `.zst`.
    Zstandard,
    /// `.xz`.
    Xz,
    /// `.bz2`.
    Bzip2,
}

/// First bytes that decide; more are not needed.
pub const KIND_BYTES: usize = 64;

impl FileKind {
    /// From the first [`KIND_BYTES`] of a file, or as many as it has.
    pub fn of(first: &[u8]) -> Self {
        if first.is_empty() {
            return FileKind::Empty;
        }
        for (magic, kind) in [
            (&MAGIC[..], FileKind::OneBit),
            (b"GGUF", FileKind::Gguf),
            (b"FUGG", FileKind::Gguf),
            (b"1BTOKENS", FileKind::Tokens),
            // The words ggml, ggmf, ggjt and ggla, little-endian.
            (b"lmgg", FileKind::Ggml),
            (b"fmgg", FileKind::Ggml),
            (b"tjgg", FileKind::Ggml),
            (b"algg", FileKind::Ggml),
            (b"PK\x03\x04", FileKind::Zip),
            (b"\x1f\x8b", FileKind::Packed(Packer::Gzip)),
            (b"\x28\xb5\x2f\xfd", FileKind::Packed(Packer::Zstandard)),
            (b"\xfd7zXZ\0", FileKind::Packed(Packer::Xz)),
            (b"BZh", FileKind::Packed(Packer::Bzip2)),
            (b"PAR1", FileKind::Parquet),
            (b"%PDF-", FileKind::Pdf),
            (b"\x89PNG", FileKind::Image),
            (b"\xff\xd8\xff", FileKind::Image),
            (b"GIF8", FileKind::Image),
        ] {
            if first.starts_with(magic) {
                return kind;
            }
        }
        // The length of a head that is JSON, then the JSON.
        if first.len() > 8 && first[8] == b'{' && first[6..8] == [0, 0] {
            return FileKind::Safetensors;
        }
        let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
        let text = text.trim_ascii_start();
        let begins = |with: &str| {
            text.get(..with.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(with.as_bytes()))
        };
        if begins("version https://git-lfs") {
            FileKind::LfsPointer
        } else if ["<!doctype", "<html", "<head", "<body", "<!--"]
            .into_iter()
            .any(begins)
        {
            FileKind::Html
        } else if begins("<?xml") {
            FileKind::Xml
        } else if [
            "Entry not found",
            "Repository not found",
            "Access to model",
            "Invalid username",
            "{\"error\"",
            "404: Not Found",
            "404 Not Found",
        ]
        .into_iter()
        .any(begins)
        {
            FileKind::ErrorText
        } else {
            FileKind::Other
        }
    }

    /// What it is and what to do with it, for a message; nothing of what is not known.
    pub fn described(self) -> Option<&'static str> {
        Some(match self {
            FileKind::OneBit => "a .1bit model: it needs no import; give it to --model",
            FileKind::Gguf => {
                "a GGUF model: `onebit import --input FILE --output MODEL.1bit` makes a .1bit of it"
            }
            FileKind::Safetensors => {
                "a safetensors file: `onebit import` with its folder makes a .1bit of a model; an adapter belongs to --adapter"
            }
            FileKind::Tokens => "a .tokens file: --data-dir takes it, `onebit inspect` shows it",
            FileKind::LfsPointer => {
                "a Git LFS pointer, which stands for the file itself: run `git lfs pull` in its folder, or download the file"
            }
            FileKind::Html => {
                "an HTML page: the download was answered with a web page; log in if it asks for that, and download the file again"
            }
            FileKind::Xml => {
                "XML, which a server sends in place of a file that is gone or not allowed: download it again"
            }
            FileKind::Ggml => {
                "a GGML file of before August 2023; get the model as GGUF, or as a folder of safetensors"
            }
            FileKind::ErrorText => {
                "an error message in place of the file: download it again, after logging in if the model asks for that"
            }
            FileKind::Zip => {
                "a ZIP archive, as PyTorch saves models; only safetensors and GGUF files can be read"
            }
            FileKind::Packed(Packer::Gzip) => {
                "packed by gzip: unpack it with gzip -d; texts can come through a pipe (zcat FILE | onebit … --data-dir -)"
            }
            FileKind::Packed(Packer::Zstandard) => "packed by zstd: unpack it with zstd -d",
            FileKind::Packed(Packer::Xz) => "packed by xz: unpack it with xz -d",
            FileKind::Packed(Packer::Bzip2) => "packed by bzip2: unpack it with bzip2 -d",
            FileKind::Parquet => "a Parquet file, which is a data set to learn from",
            FileKind::Pdf => "a PDF: save its text first, for example with pdftotext",
            FileKind::Image => "an image",
            FileKind::Empty => "empty: write it again, or download it again",
            FileKind::Other => return None,
        })
    }
}

/// The first bytes of a file in hexadecimal, or what kind of file they begin.
pub fn found(first: &[u8]) -> String {
    match FileKind::of(first).described() {
        Some(what) => format!("it is {what}"),
        None => {
            let mut out = "it begins with".to_owned();
            for byte in first.iter().take(8) {
                out += &format!(" {byte:02x}");
            }
            out
        }
    }
}

/// A text without the byte order mark that some editors put before it.
pub fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A text from a file as a terminal can show it: control characters are written out.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Marks that turn the direction of writing hide what they stand before.
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_first_bytes() {
        for (first, kind) in [
            (&b"GGUF\x03\0\0\0"[..], FileKind::Gguf),
            (b"\x10\x01\0\0\0\0\0\0{\"a\"", FileKind::Safetensors),
            (b"\x891BIT\r\n\x1a\x01", FileKind::OneBit),
            (
                b"version https://git-lfs.github.com/spec/v1\noid",
                FileKind::LfsPointer,
            ),
            (b"\xef\xbb\xbf\n <!DOCTYPE html>", FileKind::Html),
            (b"<html lang=en>", FileKind::Html),
            (b"<?xml version=\"1.0\"?><Error>", FileKind::Xml),
            (b"tjgg\x03\0\0\0", FileKind::Ggml),
            (b"Entry not found", FileKind::ErrorText),
            (b"\x1f\x8b\x08", FileKind::Packed(Packer::Gzip)),
            (b"", FileKind::Empty),
            (b"{\"model_type\": 1}", FileKind::Other),
            (b"\0\0\0\0\0\0\0\0\0\0", FileKind::Other),
        ] {
            assert_eq!(FileKind::of(first), kind, "{first:?}");
        }
        assert_eq!(
            found(b"abcdefghij"),
            "it begins with 61 62 63 64 65 66 67 68"
        );
        assert!(found(b"GGUF").contains("onebit import"));
        assert_eq!(
            escaped("a\u{1b}[31m\n漢\u{202e}"),
            "a\\u{1b}[31m\\n漢\\u{202e}"
        );
    }
}
