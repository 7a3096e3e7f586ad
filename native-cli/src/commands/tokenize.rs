//! `onebit tokenize`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ternary::data::{
    self, Document, Encoded, Encoder, Piece, Pieces, TextFile, TokenData, TokenWriter,
};
use ternary::tokenizer::{ChatTemplate, Tokenizer};
use ternary::words::counted;

use crate::args::Tokenize;
use crate::output::{self, errln};
use crate::{model, progress};

const BAR: &str = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";

pub fn run(a: &Tokenize) -> Result<()> {
    // Their folders are made, unlike those of other commands: the first command of a project has
    // none yet.
    for output in a.output.iter().chain(a.train_vocab.map(|_| &a.tokenizer)) {
        if let Some(folder) = output.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
    }
    if let Some(output) = &a.output {
        output::check(output, &[&a.tokenizer, &a.data_dir])?;
        output::check_kind("--output", output, "tokens")?;
    }
    if a.train_vocab.is_some() {
        output::check(&a.tokenizer, &[&a.data_dir])?;
        output::check_kind("--tokenizer", &a.tokenizer, "json")?;
    }
    // A mistake in a flag is found before a pipe is read.
    let known = match a.train_vocab {
        Some(vocab) => {
            Tokenizer::check_vocab(vocab)?;
            None
        }
        None => Some(read(&a.tokenizer)?),
    };
    let template = a.chat_template.as_deref().map(template).transpose()?;
    let files = data::text_files(&a.data_dir)?;
    let mut bytes = 0;
    for file in &files {
        bytes += file.bytes()?;
    }
    let targets: Vec<PathBuf> = match (&a.out_dir, &a.output) {
        (Some(dir), _) => files
            .iter()
            .map(|f| dir.join(token_name(f, &files, &a.data_dir)))
            .collect(),
        (None, output) => output.iter().cloned().collect(),
    };
    let (tokenizer, json) = match (known, a.train_vocab) {
        (Some(known), _) => known,
        (None, vocab) => {
            spare_dependents(a, &targets)?;
            train(a, vocab.unwrap_or_default(), &files, bytes)?
        }
    };
    let encoder = Encoder::new(&tokenizer, template);
    let header = (
        tokenizer.vocab_size() as u32,
        a.seq_len,
        data::checksum(&json),
    );
    let create = |path: &Path| TokenWriter::create(path, header.0, header.1, header.2);
    let bar = progress::bar(bytes, BAR).with_message("tokenizing");
    let told = |file: &TextFile, bytes: u64, tokens: u64| {
        let ratio = bytes as f64 / tokens.max(1) as f64;
        bar.suspend(|| {
            let tokens = counted(tokens, "token");
            errln!("{}: {tokens}, {ratio:.2} bytes a token", file.name());
        });
    };
    // The open file, and of the current text its index, bytes and tokens.
    let mut writer: Option<TokenWriter> = None;
    let mut text = (0, 0u64, 0u64);
    let mut total = 0;
    data::encode_files(&encoder, &files, &mut |piece: Encoded, _: &Document| {
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
        total += piece.ids.len();
        bar.inc(piece.bytes);
        Ok(())
    })?;
    told(&files[text.0], text.1, text.2);
    bar.finish_and_clear();
    ensure!(total > 0, "{}", nothing_in(&a.data_dir));
    Ok(writer.map_or(Ok(()), TokenWriter::finish)?)
}

fn nothing_in(data: &Path) -> String {
    format!(
        "{} has no text in it: there is nothing to tokenize",
        data.display()
    )
}

/// A chat template in a file.
pub fn template(path: &Path) -> Result<ChatTemplate> {
    let text = model::read_small(path, "the chat template")?;
    ChatTemplate::new(&text).with_context(|| path.display().to_string())
}

/// Refuse to replace a tokenizer that `.tokens` files were made with, except those that are made
/// anew here.
fn spare_dependents(a: &Tokenize, targets: &[PathBuf]) -> Result<()> {
    if a.force || !a.tokenizer.is_file() {
        return Ok(());
    }
    let Ok(old) = std::fs::read_to_string(&a.tokenizer) else {
        return Ok(());
    };
    let old = data::checksum(&old);
    let beside = [Some(a.tokenizer.as_path()), a.output.as_deref()];
    let mut folders: Vec<&Path> = beside
        .into_iter()
        .flatten()
        .filter_map(Path::parent)
        .collect();
    folders.extend(a.out_dir.as_deref());
    for folder in folders {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let entries = |folder: &Path| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        // Also in the folders beside it, where an earlier --out-dir is as a rule.
        let below = entries(folder);
        let within = below.iter().filter(|path| path.is_dir());
        let within: Vec<PathBuf> = within.flat_map(|folder| entries(folder)).collect();
        for path in below.into_iter().chain(within) {
            let same = |target: &PathBuf| {
                target
                    .canonicalize()
                    .is_ok_and(|t| path.canonicalize().is_ok_and(|p| p == t))
            };
            if path.extension().is_some_and(|e| e == "tokens")
                && !targets.iter().any(same)
                && TokenData::open(&[&path]).is_ok_and(|data| data.header().tokenizer == old)
            {
                bail!(
                    "{} was made with {}: with another tokenizer its tokens mean nothing. Give the new tokenizer another name, or --force",
                    path.display(),
                    a.tokenizer.display()
                );
            }
        }
    }
    Ok(())
}

/// Train a tokenizer on the texts and write it.
fn train(
    a: &Tokenize,
    vocab: usize,
    files: &[TextFile],
    bytes: u64,
) -> Result<(Tokenizer, String)> {
    errln!(
        "training a {vocab}-token BPE on {:.1} MB",
        bytes as f64 / 1e6
    );
    let bar = progress::bar(bytes, BAR).with_message("counting words");
    let mut failure = None;
    let texts = Pieces::new(files, false).map_while(|piece| match piece {
        Ok(Piece {
            document,
            offset,
            end,
            ..
        }) => {
            bar.inc(end - offset);
            Some(document.plain())
        }
        Err(e) => {
            failure = Some(e);
            None
        }
    });
    let mut letters = 0;
    let texts = texts.inspect(|text| letters += text.len());
    let tokenizer = Tokenizer::train(texts, vocab);
    bar.finish_and_clear();
    if let Some(e) = failure {
        return Err(e.into());
    }
    let tokenizer = tokenizer?;
    ensure!(letters > 0, "{}", nothing_in(&a.data_dir));
    ensure!(
        tokenizer.vocab_size() <= vocab,
        "the trainer gave {} tokens",
        tokenizer.vocab_size()
    );
    if tokenizer.vocab_size() < vocab {
        log::warn!(
            "the texts give {} tokens only: what is in them twice or more has a token already",
            tokenizer.vocab_size()
        );
    }
    let json = tokenizer.to_json()?;
    output::replace(&a.tokenizer, |draft| Ok(std::fs::write(draft, &json)?))?;
    errln!(
        "wrote {} ({})",
        a.tokenizer.display(),
        counted(tokenizer.vocab_size(), "token")
    );
    Ok((tokenizer, json))
}

/// `texts/part/book.txt` of the folder `texts` becomes `part/book.tokens`, or
/// `part/book.txt.tokens` where another of `files` is called `part/book` too.
fn token_name(file: &TextFile, files: &[TextFile], root: &Path) -> PathBuf {
    // What came through a pipe has the name that messages give it.
    let named = |file: &TextFile| match file.path().starts_with(root) {
        true => file.path().to_owned(),
        false => PathBuf::from(file.name().rsplit('/').next().unwrap_or_default()),
    };
    let path = named(file);
    let stem = path.with_extension("");
    let alone = files
        .iter()
        .filter(|f| named(f).with_extension("") == stem)
        .count()
        < 2;
    let mut name: OsString = if alone { stem } else { path.clone() }.into_os_string();
    name.push(".tokens");
    let name = PathBuf::from(name);
    match name.strip_prefix(root) {
        Ok(inside) if path != root => inside.to_owned(),
        _ => name.file_name().map_or(name.clone(), PathBuf::from),
    }
}

/// A tokenizer and the text of its tokenizer.json.
pub fn read(path: &Path) -> Result<(Tokenizer, String)> {
    if !path.exists() {
        bail!(
            "cannot read the tokenizer {}: it does not exist; make one with `onebit tokenize --train-vocab N`",
            path.display()
        );
    }
    let json = model::read_small(path, "the tokenizer")?;
    let tokenizer = Tokenizer::from_json(&json).with_context(|| path.display().to_string())?;
    Ok((tokenizer, json))
}
