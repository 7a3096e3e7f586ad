//! Training data from disk: `.tokens` files, or texts tokenised here.

use std::path::{Path, PathBuf};

use super::TokenData;
use crate::error::{Error, IoContext, Result};
use crate::tokenizer::Tokenizer;

/// The files of `path` (itself, or everything directly inside a folder) with one of `extensions`, sorted by name.
fn files(path: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let meta = std::fs::metadata(path).at("open", path)?;
    if !meta.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).at("read the folder", path)? {
        let p = entry.at("read the folder", path)?.path();
        let extension = p.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if p.is_file() && extensions.contains(&extension) {
            found.push(p);
        }
    }
    found.sort();
    Ok(found)
}

/// Text files of a folder (`.txt`, `.md`, `.text`), or the one file.
pub fn text_files(path: &Path) -> Result<Vec<PathBuf>> {
    let found = files(path, &["txt", "md", "text"])?;
    if found.is_empty() {
        return Err(Error::Data(format!(
            "{} has no text files; expected .txt, .md or .text",
            path.display()
        )));
    }
    Ok(found)
}

/// Contents of text files; bytes that are not UTF-8 are refused with their place.
pub fn read_texts(files: &[PathBuf]) -> Result<Vec<String>> {
    files
        .iter()
        .map(|p| {
            let bytes = std::fs::read(p).at("read", p)?;
            String::from_utf8(bytes).map_err(|e| {
                Error::Data(format!(
                    "{} is not UTF-8 text (byte {}); convert it first, e.g. with iconv",
                    p.display(),
                    e.utf8_error().valid_up_to()
                ))
            })
        })
        .collect()
}

/// Training or validation data from `path`: the folder's `.tokens` files if it has any, otherwise its texts tokenised in memory.
pub fn load(path: &Path, tokenizer: &Tokenizer, tokenizer_crc: u32) -> Result<TokenData> {
    let tokens: Vec<PathBuf> = files(path, &["tokens"])?
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "tokens"))
        .collect();
    let check = |data: &TokenData, p: &Path| {
        let made_with = data.header().tokenizer;
        if made_with != tokenizer_crc {
            return Err(Error::Data(format!(
                "{} was made with another tokenizer (checksum {made_with:08x}, yours has {tokenizer_crc:08x}); tokenize again",
                p.display()
            )));
        }
        data.verify().map_err(|e| match e {
            Error::Data(m) => Error::Data(format!("{}: {m}", p.display())),
            other => other,
        })
    };
    match tokens.as_slice() {
        [] => {
            let mut ids = Vec::new();
            for text in read_texts(&text_files(path)?)? {
                ids.extend(encode_parallel(tokenizer, &text)?);
            }
            TokenData::from_ids(&ids, tokenizer.vocab_size() as u32)
        }
        [one] => {
            let data = TokenData::open(one)?;
            check(&data, one)?;
            Ok(data)
        }
        several => {
            let mut ids = Vec::new();
            for p in several {
                let data = TokenData::open(p)?;
                check(&data, p)?;
                ids.extend((0..data.len()).map(|i| data.get(i)));
            }
            TokenData::from_ids(&ids, tokenizer.vocab_size() as u32)
        }
    }
}

/// Encode a long text in parallel pieces, cut after `<|endoftext|>` lines or, failing those, after line ends, where no
/// pre-tokeniser of the GPT-2 family joins across.
pub fn encode_parallel(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    use rayon::prelude::*;
    const PIECE: usize = 1 << 16;
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > PIECE {
        let mut at = PIECE;
        while !rest.is_char_boundary(at) {
            at += 1;
        }
        // After a line end that is followed by a visible character: white space never straddles the cut.
        let cut = rest[at..]
            .match_indices('\n')
            .map(|(i, _)| at + i + 1)
            .find(|i| rest[*i..].starts_with(|c: char| !c.is_whitespace()));
        let Some(cut) = cut else { break };
        let (head, tail) = rest.split_at(cut);
        pieces.push(head);
        rest = tail;
    }
    pieces.push(rest);
    let encoded: Vec<Vec<u32>> = pieces
        .par_iter()
        .map(|p| tokenizer.encode(p))
        .collect::<Result<_>>()?;
    Ok(encoded.concat())
}
