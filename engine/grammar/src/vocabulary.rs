//! A model's tokens, as far as a grammar looks at them.

/// The bytes of every token, and which of them end a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    /// By id. Of a special token its name.
    pub words: Vec<Vec<u8>>,
    /// Special tokens: none of them is a part of a text.
    pub specials: Vec<u32>,
    /// Tokens that end a reply.
    pub ends: Vec<u32>,
}

impl Vocabulary {
    /// All words behind each other, and the length of each: what goes to another program.
    pub fn joined(&self) -> (Vec<u8>, Vec<u32>) {
        let lengths = self.words.iter().map(|word| word.len() as u32).collect();
        (self.words.concat(), lengths)
    }

    /// From [`Vocabulary::joined`]; words beyond the end of `bytes` are empty.
    pub fn of_joined(bytes: &[u8], lengths: &[u32], specials: Vec<u32>, ends: Vec<u32>) -> Self {
        let mut rest = bytes;
        let word = |length: &u32| {
            let (word, after) = rest.split_at((*length as usize).min(rest.len()));
            rest = after;
            word.to_vec()
        };
        Vocabulary {
            words: lengths.iter().map(word).collect(),
            specials,
            ends,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_apart_as_they_were_joined() {
        let words: [&[u8]; 4] = [b"a", b"", b"\xff\xfe", b"<|end|>"];
        let vocabulary = Vocabulary {
            words: words.map(<[u8]>::to_vec).to_vec(),
            specials: vec![3],
            ends: vec![3],
        };
        let (bytes, lengths) = vocabulary.joined();
        let back = Vocabulary::of_joined(&bytes, &lengths, vec![3], vec![3]);
        assert_eq!(back, vocabulary);
        // What is cut short has shorter words, and the same number.
        let cut = Vocabulary::of_joined(&bytes[..2], &lengths, Vec::new(), Vec::new());
        assert_eq!(cut.words, [&b"a"[..], b"", b"\xff", b""]);
    }
}
