//! How vocabularies of kind `gpt2` cut a text into words before their merges are applied:
//! llama.cpp's names, and the patterns that stand in the models' own tokenizer.json files.

use serde_json::{Value as Json, json};

/// Contractions, words, numbers, marks, spaces: GPT-2's pattern, which the tokenizers have built
/// in.
const GPT2: &str = "";
/// Contractions, letters with one mark before them, up to three digits, other marks, line ends,
/// spaces.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// As Llama 3's, with single digits.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words begin at large letters; single digits.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// As Tekken's, with contractions and up to three digits.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// As Qwen 2's, with marks among the letters.
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// As Qwen 2's, with line ends by themselves.
const BAILING: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
/// As Qwen 2's, with line ends apart from marks.
const SEED: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
/// As Qwen 2's, with words of several letters and spaces between them, as in Korean.
const EXAONE_MOE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
/// As Llama 3's, with numbers of any length, which another pattern cuts before.
const MINICPM5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Everything but spaces and marks that end a sentence or a part of one.
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const UP_TO_THREE: &str = r"\p{N}{1,3}";
const HAN: &str = "[一-龥ࠀ-一가-퟿]+";
const DIGIT: &str = r"\p{N}";

/// A way to cut texts into words.
#[derive(Debug)]
pub(crate) struct PreTokenizer {
    /// llama.cpp's names; the first is the one that is written.
    names: &'static [&'static str],
    /// One after another; each cuts further what those before it left.
    patterns: &'static [&'static str],
    /// A word that is a token is not put together from merges.
    pub ignore_merges: bool,
    /// Whether a text begins with the beginning-of-text token where the file does not say.
    pub add_bos: bool,
}

const fn plain(names: &'static [&'static str], patterns: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer {
        names,
        patterns,
        ignore_merges: false,
        add_bos: false,
    }
}

static ALL: [PreTokenizer; 19] = [
    plain(
        &[
            "gpt-2",
            "gpt2",
            "mpt",
            "olmo",
            "jais",
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "roberta-bpe",
            "a.x-4.0",
            "mellum",
            "gigachat",
            "trillion",
            "exaone4",
            "modern-bert",
            "granite-docling",
        ],
        &[GPT2],
    ),
    PreTokenizer {
        ignore_merges: true,
        add_bos: true,
        ..plain(
            &[
                "llama-bpe",
                "llama3",
                "llama-v3",
                "falcon3",
                "falcon-h1",
                "pixtral",
                "midm-2.0",
                "lfm2",
                "jina-v5-nano",
            ],
            &[LLAMA3],
        )
    },
    plain(&["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"], &[LLAMA3]),
    plain(
        &[
            "qwen2",
            "stablelm2",
            "hunyuan",
            "megrez",
            "deepseek-r1-qwen",
            "grok-2",
            "kormo",
            "f2llmv2",
            "solar-open",
        ],
        &[QWEN2],
    ),
    plain(&["qwen35"], &[QWEN35]),
    plain(
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        &[DIGIT, GPT2],
    ),
    PreTokenizer {
        ignore_merges: true,
        add_bos: true,
        ..plain(&["tekken"], &[TEKKEN])
    },
    plain(
        &[
            "gpt-4o",
            "o200k",
            "llama4",
            "minimax-m2",
            "kanana2",
            "talkie",
        ],
        &[GPT4O],
    ),
    plain(&["bailingmoe", "bailingmoe2", "llada-moe"], &[BAILING]),
    plain(&["seed-coder"], &[SEED]),
    plain(&["exaone-moe"], &[EXAONE_MOE]),
    PreTokenizer {
        ignore_merges: true,
        ..plain(&["minicpm5"], &[UP_TO_THREE, MINICPM5])
    },
    plain(&["bloom", "poro-chat", "gpt3-finnish"], &[BLOOM]),
    plain(&["viking"], &[BLOOM, DIGIT]),
    plain(
        &["deepseek-llm"],
        &[
            "[\r\n]",
            r"\s?[\p{Lu}\p{Ll}\p{Lt}]+",
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            HAN,
            r"\p{N}+",
        ],
    ),
    plain(
        &["deepseek-coder"],
        &["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN, DIGIT],
    ),
    plain(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[
            UP_TO_THREE,
            "[一-龥぀-ゟ゠-ヿ]+",
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
        ],
    ),
    plain(
        &["falcon"],
        &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    ),
    plain(
        &["default"],
        &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    ),
];

/// Names that a message tells.
pub(crate) fn known() -> String {
    let names = ALL.iter().flat_map(|p| p.names.iter().take(3).copied());
    names.collect::<Vec<_>>().join(", ")
}

impl PreTokenizer {
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|p| p.names.contains(&name))
    }

    pub fn name(&self) -> &'static str {
        self.names[0]
    }

    /// As a part of a tokenizer.json.
    pub fn json(&self) -> Json {
        let gpt2 = self.patterns.contains(&GPT2);
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": gpt2});
        if self.patterns == [GPT2] {
            return bytes;
        }
        // What is left by GPT-2's pattern is cut by those after it: before its bytes become letters
        // of their own.
        let explicit = self.patterns.last() != Some(&GPT2);
        let mut parts: Vec<Json> = Vec::new();
        for pattern in self.patterns {
            let pattern = match *pattern {
                GPT2 if explicit => GPT2_PATTERN,
                GPT2 => continue,
                other => other,
            };
            parts.push(json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}));
        }
        let mut bytes = bytes;
        bytes["use_regex"] = json!(gpt2 && !explicit);
        parts.push(bytes);
        json!({"type": "Sequence", "pretokenizers": parts})
    }

    /// The way that a tokenizer.json's pre-tokenizer has, if it is one of these.
    pub fn of(found: &Json) -> Option<&'static Self> {
        let several = found["pretokenizers"].as_array();
        let parts: Vec<&Json> = several.map_or(vec![found], |all| all.iter().collect());
        let mut patterns = Vec::new();
        for part in parts {
            match part["type"].as_str() {
                Some("Split") => match part["pattern"]["Regex"].as_str()? {
                    GPT2_PATTERN => patterns.push(GPT2),
                    other => patterns.push(other),
                },
                Some("Digits") if part["individual_digits"] == true => patterns.push(DIGIT),
                Some("ByteLevel") if part["use_regex"] != false => patterns.push(GPT2),
                Some("ByteLevel") => {}
                _ => return None,
            }
        }
        ALL.iter().find(|p| p.patterns == patterns)
    }
}

/// [`GPT2`], spelled out.
const GPT2_PATTERN: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

#[cfg(test)]
mod tests {
    use super::*;
    use ternary_common::tokenizer::Tokenizer;

    /// The words of a text, by the tokens of a vocabulary that has all bytes and `pieces`.
    fn words(name: &str, text: &str) -> Vec<String> {
        let scripted = ternary_scripted::Tokenizer::byte_level(&[]);
        let mut json = scripted.json;
        json["pre_tokenizer"] = PreTokenizer::named(name).unwrap().json();
        // Words, by the library's own account of them.
        let inner: tokenizers::Tokenizer = json.to_string().parse().unwrap();
        Tokenizer::from_json(&json.to_string()).unwrap();
        let encoding = inner.encode(text, false).unwrap();
        let mut words: Vec<String> = Vec::new();
        let mut last = None;
        for (i, word) in encoding.get_word_ids().iter().enumerate() {
            let (from, to) = encoding.get_offsets()[i];
            if *word != last {
                words.push(String::new());
                last = *word;
            }
            if let (Some(out), Some(piece)) = (words.last_mut(), text.get(from..to))
                && !out.ends_with(piece)
            {
                *out += piece;
            }
        }
        words
    }

    #[test]
    fn every_way_can_be_read_back_and_used() {
        for p in &ALL {
            let back = PreTokenizer::of(&p.json()).unwrap();
            assert_eq!(back.patterns, p.patterns, "{}", p.name());
            assert!(!words(p.name(), "It's 2024: héLLo 漢字\n\n  x").is_empty());
        }
        assert!(PreTokenizer::named("unheard-of").is_none());
        assert!(known().contains("tekken"));
    }

    #[test]
    fn numbers_and_spaces_are_cut_as_each_model_expects() {
        assert_eq!(words("llama-bpe", "a 12345"), ["a", " ", "123", "45"]);
        assert_eq!(words("qwen2", "a 123"), ["a", " ", "1", "2", "3"]);
        assert_eq!(words("smollm", "a 12"), ["a", " ", "1", "2"]);
        assert_eq!(words("gpt-2", "a 12345"), ["a", " 12345"]);
        assert_eq!(words("tekken", "abCd 12"), ["ab", "Cd", " ", "1", "2"]);
        assert_eq!(words("default", "a 12345"), ["a", " ", "123", "45"]);
    }
}
