//! The Hugging Face hub: what people write for a repository, and which of its files an import
//! takes where none is named.

use serde::{Deserialize, Serialize};
use ternary_core::kind::escaped;

use crate::hf::config::CONFIG;

/// Names the files that a model's safetensors are split into.
pub const INDEX: &str = "model.safetensors.index.json";
/// Files beside the weights of a Hugging Face folder; only the first is needed.
pub const COMPANIONS: [&str; 5] = [
    CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
];
/// What stands before a repository where anything else could stand.
const SCHEME: &str = "hf:";
const SITES: [&str; 3] = ["huggingface.co/", "www.huggingface.co/", "hf.co/"];
/// Parts of an address between a repository and a revision.
const VIEWS: [&str; 4] = ["blob", "resolve", "raw", "tree"];

/// Why a repository gives no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// Neither a GGUF nor a Hugging Face model.
    #[error(
        "hf:{repo} has no config.json with safetensors beside it, and no GGUF model; it has: {has}{}",
        if *.pickled {
            ". Pickled weights cannot be read: load the model with transformers and save it with save_pretrained, which writes safetensors"
        } else {
            ""
        }
    )]
    NoModel {
        /// OWNER/NAME.
        repo: String,
        /// Names of some of its files.
        has: String,
        /// Whether it has weights in Python's own format.
        pickled: bool,
    },
    /// What was written names no repository.
    #[error(
        "`{}` names no repository of the hub; expected owner/name, owner/name/file.gguf, or the address of a model at huggingface.co",
        escaped(.0)
    )]
    Address(String),
}

/// A repository, a revision of it and perhaps one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// OWNER/NAME.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// The path of a file in it.
    pub file: Option<String>,
}

impl Repository {
    /// What `text` names: `[hf:]OWNER/NAME[@REVISION][/FILE]`, or an address of the hub's site.
    ///
    /// # Errors
    /// [`HubError::Address`].
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let refuse = || HubError::Address(text.to_owned());
        let text = text.trim();
        let bare = text.strip_prefix(SCHEME).unwrap_or(text);
        let url = bare.split_once("://").map(|(_, rest)| rest);
        let on_site = |rest: &str| {
            SITES
                .iter()
                .find_map(|s| rest.strip_prefix(s).map(str::to_owned))
        };
        let path = match (url.map(on_site), on_site(bare)) {
            (Some(None), _) => return Err(refuse()),
            (Some(Some(path)), _) | (None, Some(path)) => path,
            (None, None) => bare.to_owned(),
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let mut parts = path.trim_end_matches('/').split('/');
        let (owner, name) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        let mut revision = revision.to_owned();
        let mut rest: Vec<&str> = parts.collect();
        if rest.first().is_some_and(|view| VIEWS.contains(view)) && rest.len() > 1 {
            revision = rest[1].to_owned();
            rest.drain(..2);
        }
        let is_name = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let is_path = |part: &&str| !["", ".", ".."].contains(part);
        if !is_name(owner) || !is_name(name) || revision.is_empty() || !rest.iter().all(is_path) {
            return Err(refuse());
        }
        Ok(Repository {
            repo: format!("{owner}/{name}"),
            revision,
            file: (!rest.is_empty()).then(|| rest.join("/")),
        })
    }
}

/// `NAME-00001-of-00003.EXTENSION`: what is before the number, the number, how many there are and
/// the extension.
pub fn part_of(name: &str) -> Option<(&str, usize, usize, &str)> {
    let (stem, extension) = name.rsplit_once('.')?;
    let (before, of) = stem.rsplit_once("-of-")?;
    let (base, number) = before.rsplit_once('-')?;
    Some((base, number.parse().ok()?, of.parse().ok()?, extension))
}

/// The names of all parts of the file that `name` is part 1 of.
pub fn parts_of(name: &str) -> Vec<String> {
    const MOST: usize = 1000;
    match part_of(name) {
        Some((base, 1, of @ 2..=MOST, extension)) => (1..=of)
            .map(|i| format!("{base}-{i:05}-of-{of:05}.{extension}"))
            .collect(),
        _ => vec![name.to_owned()],
    }
}

impl Choice {
    /// The paths, of `files`, that an import of it reads.
    pub fn wanted(&self, files: &[String]) -> Vec<String> {
        match &self.gguf {
            Some(first) => parts_of(first),
            None => {
                let weights = |name: &&String| is_weights(name);
                let beside = |name: &&String| COMPANIONS.contains(&name.as_str()) || *name == INDEX;
                let (beside, weights) = (files.iter().filter(beside), files.iter().filter(weights));
                beside.chain(weights).cloned().collect()
            }
        }
    }
}

/// Whether a path is one of safetensors of the model itself.
fn is_weights(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.contains('/') && !name.starts_with("adapter_")
}

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// A GGUF file; configuration, tokenizer and safetensors if it is none.
    pub gguf: Option<String>,
    /// Why, for people.
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
    let later_part = part_of(name).is_some_and(|(_, part, ..)| part != 1);
    name.ends_with(".gguf") && !later_part && !BESIDE.iter().any(|word| path.contains(word))
}

/// The GGUF models among a repository's files, the best first, with how far down each is.
fn ranked(files: &[String]) -> Vec<(usize, &String)> {
    let models = files.iter().filter(|path| is_model(path));
    let mut models: Vec<_> = models
        .map(|path| (rank(&path.to_lowercase()), path))
        .collect();
    models.sort();
    models
}

/// The paths of the GGUF models among a repository's files, the best first.
pub fn models(files: &[String]) -> Vec<String> {
    let models = ranked(files).into_iter();
    models.map(|(_, path)| path.clone()).collect()
}

/// From the paths of all files of a repository.
///
/// # Errors
/// A repository without a model that can be read.
pub fn choose(repo: &str, files: &[String]) -> Result<Choice, HubError> {
    let models = ranked(files);
    let safetensors =
        files.iter().any(|name| name == CONFIG) && files.iter().any(|name| is_weights(name));
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
            let mut has: Vec<String> = files.iter().take(12).map(|name| escaped(name)).collect();
            if files.len() > has.len() {
                has.push("…".to_owned());
            }
            let pickled = files.iter().any(|name| name.ends_with(".bin") || name.ends_with(".pt"));
            Err(HubError::NoModel {
                repo: repo.to_owned(),
                has: has.join(", "),
                pickled,
            })
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
            let all: Vec<String> = files.iter().map(|f| (*f).to_owned()).collect();
            assert_eq!(models(&all)[0], want);
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

    #[test]
    fn what_people_write_names_a_repository() {
        let named = |text: &str| {
            let found = Repository::parse(text).unwrap();
            (found.repo, found.revision, found.file)
        };
        let of = |revision: &str, file: Option<&str>| {
            (
                "a-b/c.d".to_owned(),
                revision.to_owned(),
                file.map(str::to_owned),
            )
        };
        for text in [
            "a-b/c.d",
            " hf:a-b/c.d ",
            "https://huggingface.co/a-b/c.d",
            "https://huggingface.co/a-b/c.d/",
            "http://hf.co/a-b/c.d?library=gguf",
            "huggingface.co/a-b/c.d/tree/main",
        ] {
            assert_eq!(named(text), of("main", None), "{text}");
        }
        assert_eq!(named("a-b/c.d@v1/x/m.gguf"), of("v1", Some("x/m.gguf")));
        assert_eq!(
            named("https://huggingface.co/a-b/c.d/blob/main/m.gguf"),
            of("main", Some("m.gguf"))
        );
        assert_eq!(
            named("https://huggingface.co/a-b/c.d/resolve/0123/q/m.gguf?download=true"),
            of("0123", Some("q/m.gguf"))
        );
        for text in [
            "",
            "model",
            "a//b",
            "../a/b",
            "https://example.org/a/b",
            "a/b/../c",
            "a b/c",
            "hf:",
        ] {
            let refused = Repository::parse(text).unwrap_err().to_string();
            assert!(refused.contains("owner/name"), "{text}: {refused}");
        }
    }

    #[test]
    fn a_choice_reads_its_parts_or_what_is_beside_the_weights() {
        let files = [
            "README.md",
            "config.json",
            "tokenizer.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "adapter_model.safetensors",
            "onnx/model.safetensors",
        ]
        .map(str::to_owned);
        let choice = choose("some/model", &files).unwrap();
        assert_eq!(
            choice.wanted(&files),
            [1, 2, 3, 4, 5].map(|i| files[i].clone())
        );
        let split = Choice {
            gguf: Some("q8/m-00001-of-00002.gguf".to_owned()),
            why: String::new(),
        };
        assert_eq!(split.wanted(&files).len(), 2);
    }
}
