//! `cargo xtask shipped-text`: the training text of the model that ships with the page.
//!
//! Stories and dialogues become documents in the chat template's marks
//! (config/chat_template.jinja), so that one model tells stories when asked and makes small talk.
//! Half the stories stay plain text; the other half answer a request that names a word of theirs.
//! Nothing is random: the same input gives the same text.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};

const END: &str = "<|endoftext|>";
const STORIES: [&str; 3] = [
    "tinystories_v1_train.txt",
    "tinystories_v1_train_truecased.txt",
    "tinystories_v2_train.txt",
];
/// Bytes of the self-dialogue corpus to use: it is three times as large as all the stories.
const SELF_DIALOGUE_BYTES: usize = 3_000_000;

const REQUESTS: [&str; 8] = [
    "Tell me a story about a WORD.",
    "Can you tell me a story about a WORD?",
    "Please tell me a short story about a WORD.",
    "Tell me a story with a WORD in it.",
    "I would like to hear a story about a WORD.",
    "Write a story about a WORD.",
    "Do you know a story about a WORD?",
    "Tell me a story.",
];

fn documents(text: &str) -> impl Iterator<Item = &str> {
    text.split(END).map(str::trim).filter(|d| !d.is_empty())
}

/// Words that follow "a" or "an": nouns, mostly.
fn nouns(story: &str) -> Vec<&str> {
    let words: Vec<&str> = story
        .split(|c: char| !c.is_alphabetic())
        .filter(|w| !w.is_empty())
        .collect();
    words
        .windows(3)
        .filter(|w| matches!(w[0], "a" | "an" | "the") && w[1].len() > 2)
        // "a big dog": the last word before a verb or a small word is the likelier noun, so take
        // the second of two only when the first is a common adjective.
        .map(|w| {
            if ADJECTIVES.contains(&w[1]) {
                w[2]
            } else {
                w[1]
            }
        })
        .filter(|w| {
            w.len() > 2 && w.chars().all(|c| c.is_ascii_lowercase()) && !NOT_NOUNS.contains(w)
        })
        .collect()
}

const ADJECTIVES: [&str; 24] = [
    "little",
    "big",
    "small",
    "old",
    "new",
    "nice",
    "pretty",
    "red",
    "blue",
    "green",
    "happy",
    "sad",
    "good",
    "bad",
    "brave",
    "kind",
    "special",
    "long",
    "tall",
    "beautiful",
    "shiny",
    "funny",
    "huge",
    "tiny",
];
const NOT_NOUNS: [&str; 24] = [
    "time", "day", "little", "lot", "bit", "very", "girl", "boy", "other", "two", "next", "same",
    "end", "best", "rest", "way", "few", "while", "big", "most", "first", "one", "new", "more",
];

/// The noun a story is about: frequent in it, rare elsewhere.
fn subject<'a>(story: &'a str, spread: &HashMap<&str, usize>, total: usize) -> Option<&'a str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for w in nouns(story) {
        *counts.entry(w).or_default() += 1;
    }
    counts
        .into_iter()
        .filter(|(w, _)| spread.get(w).copied().unwrap_or(0) >= 3)
        .max_by(|a, b| {
            let score = |(w, n): &(&str, usize)| {
                let idf = (total as f64 / spread.get(w).copied().unwrap_or(1) as f64).ln();
                *n as f64 * idf
            };
            score(a).total_cmp(&score(b)).then(b.0.cmp(a.0))
        })
        .map(|(w, _)| w)
}

fn story_text(stories: &[&str]) -> String {
    let mut spread: HashMap<&str, usize> = HashMap::new();
    for s in stories {
        let mut words = nouns(s);
        words.sort_unstable();
        words.dedup();
        for w in words {
            *spread.entry(w).or_default() += 1;
        }
    }
    let mut out = String::new();
    for (i, story) in stories.iter().enumerate() {
        let word = if i % 2 == 0 {
            None
        } else {
            subject(story, &spread, stories.len())
        };
        match word {
            Some(word) => {
                let article = if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
                    "an "
                } else {
                    "a "
                };
                let request =
                    REQUESTS[i / 2 % REQUESTS.len()].replace("a WORD", &format!("{article}{word}"));
                out += &format!("<|user|>{request}<|end|><|assistant|>{story}<|end|>{END}\n");
            }
            None => out += &format!("{story}\n{END}\n"),
        }
    }
    out
}

/// "A:" lines are the user's, "B:" lines the assistant's.
fn dialogue_text(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for document in documents(text) {
        if out.len() > limit {
            break;
        }
        for line in document.lines() {
            if let Some(turn) = line.strip_prefix("A: ") {
                out += &format!("<|user|>{}<|end|>", turn.trim());
            } else if let Some(turn) = line.strip_prefix("B: ") {
                out += &format!("<|assistant|>{}<|end|>", turn.trim());
            }
        }
        out += END;
        out.push('\n');
    }
    out
}

/// Read `data/stories` and `data/chat` below `shared`, write `stories.txt` and `chat.txt` into
/// `out`.
pub fn run(shared: &Path, out: &Path) -> Result<()> {
    let read = |name: &str| {
        let path = shared.join("data").join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let texts = STORIES
        .iter()
        .map(|f| read(&format!("stories/{f}")))
        .collect::<Result<Vec<_>>>()?;
    let stories: Vec<&str> = texts.iter().flat_map(|t| documents(t)).collect();
    let mut chat = dialogue_text(&read("chat/chat_synthetic_persona.txt")?, usize::MAX);
    chat += &dialogue_text(&read("chat/chat_self_dialogue.txt")?, SELF_DIALOGUE_BYTES);
    std::fs::create_dir_all(out)?;
    for (name, text) in [("stories.txt", story_text(&stories)), ("chat.txt", chat)] {
        std::fs::write(out.join(name), &text)?;
        println!(
            "{}: {:.1} MB",
            out.join(name).display(),
            text.len() as f64 / 1e6
        );
    }
    Ok(())
}
