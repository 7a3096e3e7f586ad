//! Which files of a repository an import takes where none is named.

use anyhow::{Result, bail};
use ternary::format::escaped;

/// Types whose matrices are ternary or binary codes, as names of files have them: the first is
/// taken. Other programs know I2_S least, so who offers it means it.
const LOW_BIT: [&str; 7] = ["i2_s", "tq2_0", "tq1_0", "pq2_0", "q2_0", "ptq1_0", "q1_0"];
/// Models whose files are such without saying so.
const LOW_BIT_MODELS: [&str; 1] = ["bonsai"];
/// Other types, from the one that loses least for its size.
const TYPES: [&str; 25] = [
    "q8_0", "f16", "fp16", "bf16", "f32", "fp32", "q6_k", "q5_k_m", "q5_k_s", "q5_k", "q5_1",
    "q5_0", "q4_k_m", "q4_k_s", "q4_k", "q4_1", "iq4_nl", "q4_0", "iq4_xs", "mxfp4", "q3_k_l",
    "q3_k_m", "q3_k_s", "q3_k", "q2_k",
];
/// Parts of names of files that are no model: pictures, adapters, statistics for quantizers.
const BESIDE: [&str; 4] = ["mmproj", "imatrix", "lora", "adapter"];

/// What is taken, and why, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// A GGUF file; configuration, tokenizer and safetensors if it is none.
    pub gguf: Option<String>,
    pub why: String,
}

/// How far down the preference a file is, by its name: [`LOW_BIT`]'s types, then models that
/// are such, then [`TYPES`], then what says nothing.
fn rank(name: &str) -> usize {
    let place = |kinds: &[&str]| kinds.iter().position(|kind| has_word(name, kind));
    match (place(&LOW_BIT), place(&TYPES)) {
        (Some(place), _) => place,
        (None, Some(place)) => LOW_BIT.len() + 1 + place,
        (None, None) if LOW_BIT_MODELS.iter().any(|model| name.contains(model)) => LOW_BIT.len(),
        (None, None) => usize::MAX,
    }
}

/// Whether `word` stands in `name` with no letter or digit beside it: bf16 is not f16.
fn has_word(name: &str, word: &str) -> bool {
    let plain = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    name.match_indices(word).any(|(at, _)| {
        let before = name[..at].chars().next_back();
        plain(before) && plain(name[at + word.len()..].chars().next())
    })
}

/// Whether a file is a GGUF model, or the first part of one.
fn is_model(path: &str) -> bool {
    let path = path.to_lowercase();
    let name = path.rsplit('/').next().unwrap_or(&path);
    let later_part = super::part_of(name).is_some_and(|(_, part, ..)| part != 1);
    name.ends_with(".gguf") && !later_part && !BESIDE.iter().any(|word| path.contains(word))
}

/// From the paths of all files of a repository.
pub fn choose(repo: &str, files: &[String]) -> Result<Choice> {
    let mut models: Vec<(usize, &String)> = files
        .iter()
        .filter(|path| is_model(path))
        .map(|path| (rank(&path.to_lowercase()), path))
        .collect();
    models.sort();
    let whole = |name: &&String| {
        name.ends_with(".safetensors") && !name.contains('/') && !name.starts_with("adapter_")
    };
    let safetensors = files.iter().any(|name| name == super::COMPANIONS[0])
        && files.iter().any(|name| whole(&name));
    let of = |count: usize| match count {
        1 => "the only GGUF file".to_owned(),
        n => format!("one of {n} GGUF files"),
    };
    match models.first() {
        Some((rank, path)) if *rank <= LOW_BIT.len() => Ok(Choice {
            why: format!(
                "{}, ternary or binary by its name: its codes are kept as they are",
                of(models.len())
            ),
            gguf: Some((*path).clone()),
        }),
        _ if safetensors => Ok(Choice {
            gguf: None,
            why: match models.is_empty() {
                true => "the repository has safetensors".to_owned(),
                false => "the repository has safetensors, which lose nothing, and its GGUF files are neither ternary nor binary".to_owned(),
            },
        }),
        Some((rank, path)) => Ok(Choice {
            why: match (models.len(), *rank) {
                (1, _) => of(1),
                (n, usize::MAX) => format!("{}, none of which names its type", of(n)),
                (n, _) => format!("{}, the one that loses least for its size", of(n)),
            },
            gguf: Some((*path).clone()),
        }),
        None => {
            let pickled = files.iter().any(|name| name.ends_with(".bin") || name.ends_with(".pt"));
            let shown: Vec<String> = files.iter().take(12).map(|name| escaped(name)).collect();
            bail!(
                "hf:{repo} has no config.json with safetensors beside it, and no GGUF model; it has: {}{}{}",
                shown.join(", "),
                if files.len() > shown.len() { ", …" } else { "" },
                if pickled {
                    ". Pickled weights cannot be read: load the model with transformers and save it with save_pretrained, which writes safetensors"
                } else {
                    ""
                }
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str]) -> Option<String> {
        let files: Vec<String> = files.iter().map(|f| (*f).to_owned()).collect();
        choose("some/model", &files).unwrap().gguf
    }

    #[test]
    fn low_bit_files_come_first_then_safetensors_then_the_largest_worth_it() {
        let folder = ["config.json", "model.safetensors"];
        for (files, want) in [
            (
                &["m-Q4_K_M.gguf", "m-Q8_0.gguf", "m-F16.gguf"][..],
                "m-Q8_0.gguf",
            ),
            (
                &["m-Q4_K_M.gguf", "m-bf16.gguf", "m.Q6_K.gguf"],
                "m-bf16.gguf",
            ),
            (
                &["m-Q4_K_S.gguf", "m-UD-Q4_K_XL.gguf", "m-Q5_K_M.gguf"],
                "m-Q5_K_M.gguf",
            ),
            (&["m-Q2_K.gguf", "m-Q4_0.gguf"], "m-Q4_0.gguf"),
            (
                &["m-Q8_0.gguf", "ggml-model-i2_s.gguf"],
                "ggml-model-i2_s.gguf",
            ),
            (&["m-TQ1_0.gguf", "m-TQ2_0.gguf"], "m-TQ2_0.gguf"),
            (
                &["Bonsai-4B-F16.gguf", "Bonsai-4B-Q1_0.gguf"],
                "Bonsai-4B-Q1_0.gguf",
            ),
            (&["Bonsai-4B-F16.gguf", "Bonsai-4B.gguf"], "Bonsai-4B.gguf"),
            (
                &[
                    "imatrix.gguf",
                    "mmproj-F16.gguf",
                    "m-lora-f16.gguf",
                    "x.gguf",
                ],
                "x.gguf",
            ),
            (
                &[
                    "q8/m-Q8_0-00002-of-00002.gguf",
                    "q8/m-Q8_0-00001-of-00002.gguf",
                    "m-Q6_K.gguf",
                ],
                "q8/m-Q8_0-00001-of-00002.gguf",
            ),
        ] {
            assert_eq!(chosen(files).as_deref(), Some(want), "{files:?}");
            let low = rank(&want.to_lowercase()) <= LOW_BIT.len();
            let both = [files, &folder[..]].concat();
            assert_eq!(chosen(&both).as_deref(), low.then_some(want), "{both:?}");
        }
    }

    #[test]
    fn a_repository_without_a_model_is_told() {
        let files = ["README.md", "pytorch_model.bin", "imatrix.gguf"].map(str::to_owned);
        let e = choose("some/model", &files).unwrap_err().to_string();
        assert!(
            e.contains("some/model") && e.contains("save_pretrained"),
            "{e}"
        );
        let files = ["adapter_config.json", "adapter_model.safetensors"].map(str::to_owned);
        assert!(choose("some/model", &files).is_err());
    }
}
