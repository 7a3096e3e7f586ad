//! `onebit tokenize`.

use std::path::Path;

use ternary::tokenizer::Tokenizer;

use crate::common::{fixture, line, state, steps, workplace};

/// The fields of a `.tokens` header, read from the bytes by hand.
struct Tokens {
    width: u32,
    vocab: u32,
    seq_len: u32,
    tokenizer: u32,
    ids: Vec<u32>,
}

fn read(path: &Path) -> Tokens {
    let b = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(b[at..at + 4].try_into().unwrap());
    assert_eq!((&b[..8], word(8)), (&b"1BTOKENS"[..], 1));
    let count = u64::from_le_bytes(b[24..32].try_into().unwrap()) as usize;
    assert_eq!(b.len(), 64 + 2 * count, "two bytes an id");
    Tokens {
        width: word(12),
        vocab: word(16),
        seq_len: word(20),
        tokenizer: word(36),
        ids: b[64..]
            .chunks(2)
            .map(|c| u32::from(u16::from_le_bytes([c[0], c[1]])))
            .collect(),
    }
}

#[test]
fn token_files_hold_the_text_and_say_how_they_were_made() {
    let dir = fixture();
    let tokenizer =
        Tokenizer::from_json(&std::fs::read_to_string(dir.join("tok.json")).unwrap()).unwrap();
    assert!(tokenizer.vocab_size() <= 300 && tokenizer.vocab_size() > 261);
    let (a, b) = (
        read(&dir.join("tokens/a.tokens")),
        read(&dir.join("tokens/b.tokens")),
    );
    assert_eq!((a.width, a.seq_len), (2, 32));
    assert_eq!(a.vocab as usize, tokenizer.vocab_size());
    assert!(a.ids.iter().all(|id| *id < a.vocab));
    assert_eq!(a.tokenizer, b.tokenizer);
    for (tokens, name) in [(&a, "a"), (&b, "b")] {
        let text = std::fs::read_to_string(dir.join(format!("corpus/{name}.txt"))).unwrap();
        assert_eq!(tokenizer.decode(&tokens.ids).unwrap(), text);
        assert!(tokens.ids.len() < text.len(), "the BPE learned nothing");
    }
    // One file of all texts, with the tokenizer that is already there.
    let out = workplace();
    std::fs::create_dir(out.path().join("corpus")).unwrap();
    for name in ["corpus/a.txt", "corpus/b.txt"] {
        std::fs::copy(dir.join(name), out.path().join(name)).unwrap();
    }
    line(
        out.path(),
        "tokenize --data-dir corpus --tokenizer tok.json --output deep/all.tokens",
    )
    .ok();
    let all = read(&out.path().join("deep/all.tokens"));
    assert_eq!(all.ids, [a.ids, b.ids].concat());
    assert_eq!((all.seq_len, all.tokenizer), (0, a.tokenizer));
}

#[test]
fn texts_with_like_names_get_a_file_each() {
    let out = workplace();
    let texts = out.path().join("texts");
    std::fs::create_dir(&texts).unwrap();
    let names = ["x.txt", "x.md", "x.1.txt", "x.2.txt"];
    for (i, name) in names.iter().enumerate() {
        std::fs::write(texts.join(name), "a bird ".repeat(i + 1)).unwrap();
    }
    line(
        out.path(),
        "tokenize --data-dir texts --tokenizer tok.json --out-dir made",
    )
    .ok();
    let mut lengths: Vec<usize> = std::fs::read_dir(out.path().join("made"))
        .unwrap()
        .map(|e| read(&e.unwrap().path()).ids.len())
        .collect();
    lengths.sort_unstable();
    assert_eq!(lengths.len(), names.len(), "a file was overwritten");
    lengths.dedup();
    assert_eq!(lengths.len(), names.len(), "two files hold the same text");
}

#[test]
fn the_sequence_length_of_the_files_is_used_unless_the_config_has_one() {
    let dir = workplace();
    let train = |out: &str, config: &str| {
        line(
            dir.path(),
            &format!(
                "train --config {config} --data-dir tokens --tokenizer tok.json --output-dir {out} --max-steps 2 \
                 --batch-size 3 --device cpu"
            ),
        )
        .ok();
        state(&steps(&dir.path().join(out))[0])
    };
    let from_file = train("one", "config.json");
    assert_eq!(from_file["train"]["seq_len"], 32);
    assert_eq!(from_file["tokens_seen"], 2 * 3 * 32);
    let config = crate::common::CONFIG.replace("\"lr\":", "\"seq_len\": 16, \"lr\":");
    std::fs::write(dir.path().join("short.json"), config).unwrap();
    assert_eq!(train("two", "short.json")["tokens_seen"], 2 * 3 * 16);
}

/// A tokenizer of nothing was written before the command failed, and `--output-dir` is what every
/// other command calls the folder.
#[test]
fn nothing_is_learned_of_nothing_and_folders_have_their_usual_name() {
    let dir = workplace();
    let d = dir.path();
    std::fs::write(d.join("none.txt"), "").unwrap();
    line(
        d,
        "tokenize --data-dir none.txt --tokenizer new.json --train-vocab 300 --output x.tokens",
    )
    .fails(&["none.txt has no text in it"]);
    assert!(!d.join("new.json").exists() && !d.join("x.tokens").exists());
    line(
        d,
        "tokenize --data-dir valid.txt --tokenizer tok.json --output-dir folder",
    )
    .ok();
    assert!(d.join("folder/valid.tokens").exists());
    std::fs::write(d.join("few.txt"), "a few words\n").unwrap();
    let out = line(
        d,
        "tokenize --data-dir few.txt --tokenizer few.json --train-vocab 3000 --output few.tokens",
    )
    .ok();
    assert!(out.stderr.contains("tokens only"), "{}", out.stderr);
}
