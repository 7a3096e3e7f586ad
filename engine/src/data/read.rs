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

/// Bytes of a piece encoded on its own.
const PIECE: usize = 1 << 16;

/// Encode a long text in parallel pieces, cut at ends of lines; the ids are those of the whole text. Tokenizers that treat the
/// beginning of a text in a special way (a space in front of the first word, say) get it in one piece.
pub fn encode_parallel(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    use rayon::prelude::*;
    if text.len() <= PIECE || !cuts_do_not_show(tokenizer)? {
        return tokenizer.encode(text);
    }
    let encoded: Vec<Vec<u32>> = pieces(text)
        .par_iter()
        .map(|p| tokenizer.encode(p))
        .collect::<Result<_>>()?;
    Ok(encoded.concat())
}

/// Cut after line ends between visible characters: the pre-tokenisers of the GPT-2 family never join across these, while a run of
/// several white-space characters is parted differently at the end of a text than inside it.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > PIECE {
        let at = rest.ceil_char_boundary(PIECE);
        let visible = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
        let cut = rest[at..]
            .match_indices('\n')
            .map(|(i, _)| at + i)
            .find(|i| {
                visible(rest[..*i].chars().next_back()) && visible(rest[i + 1..].chars().next())
            });
        let Some(cut) = cut else { break };
        let (head, tail) = rest.split_at(cut + 1);
        pieces.push(head);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}

/// Whether pieces of a text have the ids of the whole.
fn cuts_do_not_show(tokenizer: &Tokenizer) -> Result<bool> {
    for (head, tail) in [("a line\n", "The next"), ("one,\n", "two"), ("1\n", "<2>")] {
        let whole = tokenizer.encode(&format!("{head}{tail}"))?;
        if whole != [tokenizer.encode(head)?, tokenizer.encode(tail)?].concat() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_the_ids_of_the_whole_text() {
        let text = "The cat sat.\n\nThe dog\n\n\n  ran <|endoftext|>\nOne day, \n she saw\r\nit\tthere. é漢\n"
            .repeat(4000);
        let tokenizer = Tokenizer::train(std::iter::once(&text[..4000]), 400).unwrap();
        assert!(pieces(&text).len() > 3);
        assert_eq!(pieces(&text).concat(), text);
        let whole = tokenizer.encode(&text).unwrap();
        assert!(encode_parallel(&tokenizer, &text).unwrap() == whole);
    }

    #[test]
    fn a_text_without_line_ends_and_a_tokenizer_that_marks_the_beginning_stay_whole() {
        let text = "word ".repeat(30_000);
        assert_eq!(pieces(&text).len(), 1);
        let tokenizer = Tokenizer::train(std::iter::once("a line"), 261).unwrap();
        let json = tokenizer.to_json().unwrap();
        let space_first = json.replace("\"add_prefix_space\":false", "\"add_prefix_space\":true");
        assert_ne!(json, space_first);
        let space_first = Tokenizer::from_json(&space_first).unwrap();
        assert!(cuts_do_not_show(&tokenizer).unwrap());
        assert!(!cuts_do_not_show(&space_first).unwrap());
        let text = "a line\nnext\n".repeat(20_000);
        assert!(
            encode_parallel(&space_first, &text).unwrap() == space_first.encode(&text).unwrap()
        );
    }
}
