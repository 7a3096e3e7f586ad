//! Preference pairs as windows: a chosen and a rejected conversation each, one behind the other.

use std::path::Path;
use ternary_core::words::counted;

use super::files::{DataFiles, data_files};
use super::{CONTEXT, Document, Encoder, FIRST, Layout, TokenData, encode_files};
use crate::error::{Error, Result};

/// The pairs that `path` holds, each as two rows of `seq` tokens, the chosen conversation and the
/// rejected one, filled up with tokens that are not learnt; for
/// [`Batches::of_pairs`](super::Batches::of_pairs). Pairs that need more tokens are left out, which
/// is logged.
///
/// # Errors
/// Files that cannot be read or hold something else, and pairs that are all too long.
pub fn load_pairs(path: &Path, encoder: &Encoder, seq: usize) -> Result<TokenData> {
    let DataFiles::Texts(files) = data_files(path)? else {
        return Err(Error::Data(format!(
            "{} holds .tokens files, which do not tell pairs apart; give the pairs as .jsonl, .json or .parquet",
            path.display()
        )));
    };
    let (mut rows, mut all, mut longest) = (Vec::new(), 0usize, 0);
    let mut left_out = 0usize;
    let (mut file, mut number) = (0, 0);
    let encoder = encoder.clone().with_pairs();
    encode_files(&encoder, &files, &mut |piece, document| {
        if piece.file != file {
            (file, number) = (piece.file, 0);
        }
        if piece.layout == Layout::Labelled {
            return Err(Error::Data(format!(
                "{}: {}: --preference dpo compares two answers to the same prompt; write a good and a bad one as a pair, \
                 {{\"prompt\": …, \"chosen\": …, \"rejected\": …}}, or leave --preference out to learn the good ones alone",
                files[file].name(),
                piece.layout.name()
            )));
        }
        // An empty file is told of, too.
        if piece.ids.is_empty() {
            return Ok(());
        }
        number += 1;
        if !matches!(document, Document::Pair(_)) {
            return Err(Error::Data(format!(
                "{}, document {number}: {}; expected a preference pair with \"prompt\", \"chosen\" and \"rejected\"",
                files[file].name(),
                piece.layout.name()
            )));
        }
        all += 1;
        let second = piece.ids.iter().rposition(|id| id & FIRST != 0);
        let (chosen, rejected) = piece.ids.split_at(second.unwrap_or(0));
        let len = chosen.len().max(rejected.len());
        longest = longest.max(len);
        if len > seq {
            left_out += 1;
            return Ok(());
        }
        for side in [chosen, rejected] {
            let end = rows.len() + seq;
            rows.extend(side.iter().map(|id| id & !FIRST));
            rows.resize(end, CONTEXT);
        }
        Ok(())
    })?;
    if left_out > 0 {
        let said = format!(
            "{left_out} of {} {} more than the {} of a sequence, up to {longest}, and {} left out; a larger seq_len takes {}",
            counted(all, "preference pair"),
            if left_out == 1 { "needs" } else { "need" },
            counted(seq, "token"),
            if left_out == 1 { "is" } else { "are" },
            if left_out == 1 { "it" } else { "them" },
        );
        if rows.is_empty() {
            return Err(Error::Data(format!("{}: {said}", path.display())));
        }
        log::warn!("{said}");
    }
    if rows.is_empty() {
        return Err(Error::Data(format!(
            "{}: no preference pairs; expected at least one",
            path.display()
        )));
    }
    // The last input of a row has a target, too, which is the first token of the next.
    rows.push(CONTEXT);
    TokenData::from_marked(&rows, encoder.tokenizer.vocab_size() as u32)
}

#[cfg(test)]
mod tests {
    use super::super::{Batches, NO_TARGET, Windows};
    use super::*;
    use crate::tokenizer::Tokenizer;

    fn pairs(dir: &Path, text: &str, seq: usize) -> Result<(Tokenizer, TokenData)> {
        let path = dir.join("pairs.jsonl");
        std::fs::write(&path, text).unwrap();
        let tokenizer = Tokenizer::train(std::iter::once("good bad how are you"), 280).unwrap();
        let encoder = Encoder::new(&tokenizer, None);
        load_pairs(&path, &encoder, seq).map(|data| (tokenizer, data))
    }

    fn pair(i: usize) -> String {
        format!("{{\"prompt\": \"how {i}\", \"chosen\": \"good {i}\", \"rejected\": \"bad\"}}\n")
    }

    #[test]
    fn windows_are_pairs_that_stay_together() {
        let dir = tempfile::tempdir().unwrap();
        let text: String = (0..9).map(pair).collect();
        let (tokenizer, data) = pairs(dir.path(), &text, 24).unwrap();
        assert_eq!(data.len(), 9 * 2 * 24 + 1);
        let batches = Batches::of_pairs(&data, 24, 5, 280).unwrap();
        let mut all = Windows::default();
        // Two epochs, in two requests.
        batches.fill(0, 10, &mut all).unwrap();
        batches.fill(10, 26, &mut all).unwrap();
        let mut seen = Vec::new();
        for (ids, targets) in all.ids.chunks(48).zip(all.targets.chunks(48)) {
            let learnt = |side: usize| {
                let own = targets[24 * side..24 * (side + 1)].iter();
                let ids: Vec<u32> = own.copied().filter(|t| *t != NO_TARGET).collect();
                tokenizer.decode(&ids).unwrap()
            };
            let question = tokenizer.decode(&ids[..24]).unwrap();
            let number: usize = (0..9)
                .find(|i| question.contains(&format!("how {i}")))
                .unwrap();
            assert!(
                learnt(0).starts_with(&format!("good {number}")),
                "{}",
                learnt(0)
            );
            assert!(learnt(1).starts_with("bad"), "{}", learnt(1));
            seen.push(number);
        }
        assert_ne!(seen[..9], seen[9..]);
        for epoch in seen.chunks_mut(9) {
            epoch.sort_unstable();
            assert_eq!(epoch, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        }
        assert_eq!(batches.fixed(8).len(), 8);
        assert!(
            batches
                .fixed(8)
                .chunks(2)
                .all(|p| p[0] % 48 == 0 && p[1] == p[0] + 24)
        );
        assert_eq!(batches.fixed(100).len(), 18);
    }

    #[test]
    fn what_makes_no_pairs_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let fails = |text: &str, seq: usize, words: &[&str]| {
            let e = pairs(dir.path(), text, seq)
                .map(|_| ())
                .unwrap_err()
                .to_string();
            assert!(words.iter().all(|word| e.contains(word)), "{e}");
        };
        let chat = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
        fails(
            &format!("{}{chat}", pair(1)),
            24,
            &[
                "pairs.jsonl",
                "document 2",
                "prompt, completion",
                "expected",
            ],
        );
        for label in ["true", "false", "0", "\"false\""] {
            fails(
                &format!("{{\"prompt\": \"a\", \"completion\": \"b\", \"label\": {label}}}\n"),
                24,
                &[
                    "pairs.jsonl",
                    "labelled answers",
                    "\"chosen\"",
                    "leave --preference out",
                ],
            );
        }
        fails(&pair(1), 4, &["1 of 1", "4 tokens"]);
        fails("", 24, &["no preference pairs"]);
    }

    /// Data sets have some: they teach nothing, and nobody wants to look for them.
    #[test]
    fn answers_that_are_the_same_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let turns =
            r#"[{"role": "user", "content": "how"}, {"role": "assistant", "content": "b"}]"#;
        for same in [
            "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"b\"}\n".to_owned(),
            format!("{{\"chosen\": {turns}, \"rejected\": {turns}}}\n"),
        ] {
            let (_, data) =
                pairs(dir.path(), &[pair(1), same.clone(), pair(2)].concat(), 24).unwrap();
            assert_eq!(data.len(), 2 * 2 * 24 + 1);
            let none = pairs(dir.path(), &same, 24)
                .map(|_| ())
                .unwrap_err()
                .to_string();
            assert!(none.contains("no preference pairs"), "{none}");
        }
    }
}
