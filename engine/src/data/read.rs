//! Training data from disk: `.tokens` files, or texts tokenised here.

use std::path::{Path, PathBuf};

use super::pieces::{Piece, Pieces, files, text_files};
use super::{StreamedTexts, TokenData};
use crate::error::{Error, Result};
use crate::tokenizer::{END_OF_TEXT, Tokenizer};

/// Pieces encoded at once.
const AT_ONCE: usize = 64;
/// `.tokens` files up to this size are read through when they are opened: it takes milliseconds.
const VERIFIED: u64 = 64 << 20;

/// What a training reads.
#[derive(Debug)]
pub enum TrainingData {
    /// Ids in memory or mapped.
    Tokens(TokenData),
    /// Texts tokenised while training.
    Texts(StreamedTexts),
}

impl From<TokenData> for TrainingData {
    fn from(data: TokenData) -> Self {
        TrainingData::Tokens(data)
    }
}

impl TrainingData {
    /// A number that other data would not have: resuming compares it.
    pub fn checksum(&self) -> u32 {
        match self {
            TrainingData::Tokens(t) => t.header().checksum,
            TrainingData::Texts(t) => t.checksum(),
        }
    }
}

/// Ids of a piece of text.
#[derive(Debug)]
pub struct Encoded {
    /// Index of the file.
    pub file: usize,
    pub ids: Vec<u32>,
    /// Bytes of the file they stand for.
    pub bytes: u64,
}

/// Encode a piece; a document is closed by `end`.
pub(super) fn encode(tokenizer: &Tokenizer, piece: &Piece, end: Option<u32>) -> Result<Vec<u32>> {
    let mut ids = tokenizer.encode(&piece.text)?;
    ids.extend(end.filter(|_| piece.ends_document));
    Ok(ids)
}

/// Encode text files piece by piece, in parallel and in constant memory; `sink` gets the pieces in order, one of each file at
/// least. The ids are those of the whole texts. Documents of `.jsonl` files are closed by `<|endoftext|>` if the tokenizer has it.
///
/// # Errors
/// What reading, the tokenizer or `sink` say.
pub fn encode_files(
    tokenizer: &Tokenizer,
    files: &[PathBuf],
    sink: &mut dyn FnMut(Encoded) -> Result<()>,
) -> Result<()> {
    use rayon::prelude::*;
    let mut pieces = Pieces::new(files, Pieces::whole_for(tokenizer)?);
    let end = tokenizer.id(END_OF_TEXT);
    loop {
        let some: Vec<Piece> = pieces.by_ref().take(AT_ONCE).collect::<Result<_>>()?;
        if some.is_empty() {
            return Ok(());
        }
        let encoded: Vec<Encoded> = some
            .par_iter()
            .map(|p| {
                Ok(Encoded {
                    file: p.file,
                    ids: encode(tokenizer, p, end)?,
                    bytes: p.end - p.offset,
                })
            })
            .collect::<Result<_>>()?;
        encoded.into_iter().try_for_each(&mut *sink)?;
    }
}

/// Training or validation data from `path`: the folder's `.tokens` files if it has any, otherwise its texts tokenised in memory.
/// `tokenizer_crc` is the CRC-32 of the tokenizer.json.
///
/// # Errors
/// Files that cannot be read, are damaged or were made with another tokenizer.
pub fn load(path: &Path, tokenizer: &Tokenizer, tokenizer_crc: u32) -> Result<TokenData> {
    let tokens: Vec<PathBuf> = files(path, &["tokens"])?
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "tokens"))
        .collect();
    if tokens.is_empty() {
        let mut ids = Vec::new();
        encode_files(tokenizer, &text_files(path)?, &mut |piece| {
            ids.extend(piece.ids);
            Ok(())
        })?;
        return TokenData::from_ids(&ids, tokenizer.vocab_size() as u32);
    }
    for file in &tokens {
        let data = TokenData::open(&[file])?;
        let header = data.header();
        if header.tokenizer != tokenizer_crc {
            return Err(Error::Data(format!(
                "{} was made with another tokenizer (checksum {:08x}, yours has {tokenizer_crc:08x}); tokenize again",
                file.display(),
                header.tokenizer
            )));
        }
        if header.count * header.width as u64 <= VERIFIED {
            data.verify()?;
        }
    }
    TokenData::open(&tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.txt");
        std::fs::write(&file, text).unwrap();
        let mut ids = Vec::new();
        encode_files(tokenizer, &[file], &mut |e| {
            ids.extend(e.ids);
            Ok(())
        })
        .unwrap();
        ids
    }

    #[test]
    fn pieces_have_the_ids_of_the_whole_text() {
        let text = "The cat sat.\n\nThe dog\n\n\n  ran <|endoftext|>\nOne day, \n she saw\r\nit\tthere. é漢\n"
            .repeat(4000);
        let tokenizer = Tokenizer::train(std::iter::once(&text[..4000]), 400).unwrap();
        assert!(!Pieces::whole_for(&tokenizer).unwrap());
        for text in [text, "many words without a line end, ".repeat(50_000)] {
            assert!(ids(&tokenizer, &text) == tokenizer.encode(&text).unwrap());
        }
        // A tokenizer that marks the beginning of a text gets it whole.
        let json = tokenizer.to_json().unwrap();
        let space_first = json.replace("\"add_prefix_space\":false", "\"add_prefix_space\":true");
        assert_ne!(json, space_first);
        let space_first = Tokenizer::from_json(&space_first).unwrap();
        assert!(Pieces::whole_for(&space_first).unwrap());
        let text = "a line\nnext\n".repeat(20_000);
        assert!(ids(&space_first, &text) == space_first.encode(&text).unwrap());
    }
}
