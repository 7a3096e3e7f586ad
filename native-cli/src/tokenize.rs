//! `onebit tokenize`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ternary_core::data::{self, Encoded, Piece, Pieces, TokenWriter};
use ternary_core::tokenizer::Tokenizer;

use crate::args::Tokenize;
use crate::progress;

const BAR: &str = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";

pub fn run(a: &Tokenize) -> Result<()> {
    let files = data::text_files(&a.data_dir)?;
    let mut bytes = 0;
    for file in &files {
        let meta = std::fs::metadata(file);
        bytes += meta
            .with_context(|| format!("cannot read {}", file.display()))?
            .len();
    }
    let tokenizer = match a.train_vocab {
        Some(vocab) => train(a, vocab, &files, bytes)?,
        None => read(&a.tokenizer)?.0,
    };
    let targets: Vec<PathBuf> = match (&a.out_dir, &a.output) {
        (Some(dir), _) => files
            .iter()
            .map(|f| dir.join(token_name(f, &files, &a.data_dir)))
            .collect(),
        (None, output) => output.iter().cloned().collect(),
    };
    let header = (
        tokenizer.vocab_size() as u32,
        a.seq_len,
        tokenizer_crc(&a.tokenizer)?,
    );
    let create = |path: &Path| TokenWriter::create(path, header.0, header.1, header.2);
    let bar = progress::bar(bytes, BAR).with_message("tokenizing");
    let told = |path: &Path, bytes: u64, tokens: u64| {
        let ratio = bytes as f64 / tokens.max(1) as f64;
        bar.suspend(|| {
            eprintln!(
                "{}: {tokens} tokens, {ratio:.2} bytes a token",
                path.display()
            )
        });
    };
    // The open file, and of the current text its index, bytes and tokens.
    let mut writer: Option<TokenWriter> = None;
    let mut text = (0, 0u64, 0u64);
    data::encode_files(&tokenizer, &files, &mut |piece: Encoded| {
        if piece.file != text.0 {
            told(&files[text.0], text.1, text.2);
            text = (piece.file, 0, 0);
            if a.out_dir.is_some() {
                writer.take().map_or(Ok(()), TokenWriter::finish)?;
            }
        }
        let writer = match &mut writer {
            Some(writer) => writer,
            none => none.insert(create(
                &targets[if a.out_dir.is_some() { piece.file } else { 0 }],
            )?),
        };
        writer.push(&piece.ids)?;
        text.1 += piece.bytes;
        text.2 += piece.ids.len() as u64;
        bar.inc(piece.bytes);
        Ok(())
    })?;
    told(&files[text.0], text.1, text.2);
    bar.finish_and_clear();
    Ok(writer.map_or(Ok(()), TokenWriter::finish)?)
}

/// Train a tokenizer on the texts and write it.
fn train(a: &Tokenize, vocab: usize, files: &[PathBuf], bytes: u64) -> Result<Tokenizer> {
    eprintln!(
        "training a {vocab}-token BPE on {:.1} MB",
        bytes as f64 / 1e6
    );
    let bar = progress::bar(bytes, BAR).with_message("counting words");
    let mut failure = None;
    let texts = Pieces::new(files, false).map_while(|piece| match piece {
        Ok(Piece {
            text, offset, end, ..
        }) => {
            bar.inc(end - offset);
            Some(text)
        }
        Err(e) => {
            failure = Some(e);
            None
        }
    });
    let tokenizer = Tokenizer::train(texts, vocab);
    bar.finish_and_clear();
    if let Some(e) = failure {
        return Err(e.into());
    }
    let tokenizer = tokenizer?;
    ensure!(
        tokenizer.vocab_size() <= vocab,
        "the trainer gave {} tokens",
        tokenizer.vocab_size()
    );
    write(&a.tokenizer, tokenizer.to_json()?.as_bytes())?;
    eprintln!(
        "wrote {} ({} tokens)",
        a.tokenizer.display(),
        tokenizer.vocab_size()
    );
    Ok(tokenizer)
}

/// `texts/part/book.txt` of the folder `texts` becomes `part/book.tokens`, or `part/book.txt.tokens` where another of `files` is
/// called `part/book` too.
fn token_name(path: &Path, files: &[PathBuf], root: &Path) -> PathBuf {
    let stem = path.with_extension("");
    let alone = files
        .iter()
        .filter(|f| f.with_extension("") == stem)
        .count()
        < 2;
    let mut name: OsString = if alone { stem } else { path.to_owned() }.into_os_string();
    name.push(".tokens");
    let name = PathBuf::from(name);
    match name.strip_prefix(root) {
        Ok(inside) if path != root => inside.to_owned(),
        _ => name.file_name().map_or(name.clone(), PathBuf::from),
    }
}

/// A tokenizer and the text of its tokenizer.json.
pub fn read(path: &Path) -> Result<(Tokenizer, String)> {
    let json = std::fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the tokenizer {}; make one with `onebit tokenize --train-vocab N`",
            path.display()
        )
    })?;
    let tokenizer = Tokenizer::from_json(&json).with_context(|| path.display().to_string())?;
    Ok((tokenizer, json))
}

fn tokenizer_crc(path: &Path) -> Result<u32> {
    Ok(data::checksum(&read(path)?.1))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(dir) = path.parent()
        && !dir.as_os_str().is_empty()
    {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
