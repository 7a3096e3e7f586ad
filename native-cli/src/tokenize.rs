//! `onebit tokenize`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ternary_core::data;
use ternary_core::tokenizer::Tokenizer;

use crate::args::Tokenize;
use crate::progress;

pub fn run(a: &Tokenize) -> Result<()> {
    let files = data::text_files(&a.data_dir)?;
    let texts = data::read_texts(&files)?;
    let bytes: usize = texts.iter().map(String::len).sum();
    let tokenizer = match a.train_vocab {
        Some(vocab) => {
            eprintln!(
                "training a {vocab}-token BPE on {:.1} MB",
                bytes as f64 / 1e6
            );
            let tokenizer = Tokenizer::train(texts.iter().map(String::as_str), vocab)?;
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
            tokenizer
        }
        None => read(&a.tokenizer)?.0,
    };
    let crc = tokenizer_crc(&a.tokenizer)?;
    let vocab = tokenizer.vocab_size() as u32;
    let bar = progress::bar(
        bytes as u64,
        "tokenizing {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    );
    let mut all = Vec::new();
    for (path, text) in files.iter().zip(&texts) {
        let ids = data::encode_parallel(&tokenizer, text)?;
        bar.inc(text.len() as u64);
        let ratio = text.len() as f64 / ids.len().max(1) as f64;
        bar.suspend(|| {
            eprintln!(
                "{}: {} tokens, {ratio:.2} bytes a token",
                path.display(),
                ids.len()
            );
        });
        match &a.out_dir {
            Some(dir) => {
                std::fs::create_dir_all(dir)
                    .with_context(|| format!("cannot create {}", dir.display()))?;
                let target = dir.join(token_name(path, &files));
                write(&target, &data::write_tokens(&ids, vocab, a.seq_len, crc))?;
            }
            None => all.extend(ids),
        }
    }
    bar.finish_and_clear();
    if let Some(output) = &a.output {
        write(output, &data::write_tokens(&all, vocab, a.seq_len, crc))?;
    }
    Ok(())
}

/// `book.txt` becomes `book.tokens`, or `book.txt.tokens` where another of `files` is called `book` too.
fn token_name(path: &Path, files: &[PathBuf]) -> OsString {
    let stem = path.file_stem();
    let alone = files.iter().filter(|f| f.file_stem() == stem).count() < 2;
    let name = if alone { stem } else { path.file_name() };
    let mut name = name.unwrap_or(path.as_os_str()).to_owned();
    name.push(".tokens");
    name
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
