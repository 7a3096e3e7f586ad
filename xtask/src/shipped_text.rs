//! `cargo xtask shipped-text`: the training text of the model that ships with the page.
//!
//! Stories and dialogues become documents in the chat template's marks
//! (config/chat_template.jinja), so that one model tells stories when asked and makes small talk.
//! Every story comes twice: as plain text, and as the answer to a request that names one to three
//! words of its own, so that the model learns that what is asked for has to come.
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
const SELF_DIALOGUE_BYTES: usize = 2_000_000;

/// How a story is asked for: its one subject, two of its things, or three of its words.
const ABOUT_ONE: [&str; 8] = [
    "Tell me a story about ONE.",
    "Can you tell me a story about ONE?",
    "Please tell me a short story about ONE.",
    "Tell me a story with ONE in it.",
    "I would like to hear a story about ONE.",
    "Write a story about ONE.",
    "Do you know a story about ONE?",
    "A story about ONE, please.",
];
const ABOUT_TWO: [&str; 4] = [
    "Tell me a story about ONE and TWO.",
    "Write a short story with ONE and TWO in it.",
    "Can you tell me a story about ONE and TWO?",
    "I want a story in which there is ONE and TWO.",
];
const ABOUT_THREE: [&str; 2] = [
    "Write a story with these words: ONE, TWO, THREE.",
    "Tell me a story that has the words ONE, TWO and THREE in it.",
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

/// The nouns a story is about, the likeliest first: frequent in it, rare elsewhere.
fn subjects<'a>(story: &'a str, spread: &HashMap<&str, usize>, total: usize) -> Vec<&'a str> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for w in nouns(story) {
        *counts.entry(w).or_default() += 1;
    }
    let score = |(w, n): &(&str, usize)| {
        let idf = (total as f64 / spread.get(w).copied().unwrap_or(1) as f64).ln();
        *n as f64 * idf
    };
    let mut known: Vec<_> = counts
        .into_iter()
        .filter(|(w, _)| spread.get(w).copied().unwrap_or(0) >= 3)
        .collect();
    known.sort_by(|a, b| score(b).total_cmp(&score(a)).then(a.0.cmp(b.0)));
    known.into_iter().map(|(w, _)| w).collect()
}

/// The request that story number `i` answers, if anything is known of it.
fn request(i: usize, subjects: &[&str]) -> Option<String> {
    let with_article = |word: &str| {
        let article = if word.starts_with(['a', 'e', 'i', 'o', 'u']) {
            "an"
        } else {
            "a"
        };
        format!("{article} {word}")
    };
    // Of ten requests six name one thing, two name two, two name three.
    let (kind, form) = (i % 10, i / 10);
    Some(match (kind, subjects) {
        (8.., [one, two, three, ..]) => ABOUT_THREE[form % ABOUT_THREE.len()]
            .replace("ONE", one)
            .replace("TWO", two)
            .replace("THREE", three),
        (6.., [one, two, ..]) => ABOUT_TWO[form % ABOUT_TWO.len()]
            .replace("ONE", &with_article(one))
            .replace("TWO", &with_article(two)),
        (_, [one, ..]) => ABOUT_ONE[i % ABOUT_ONE.len()].replace("ONE", &with_article(one)),
        (_, []) => return None,
    })
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
    // Apart, or a window would hold a story behind itself, to be copied.
    let (mut plain, mut asked_for) = (String::new(), String::new());
    for (i, story) in stories.iter().enumerate() {
        plain += &format!("{story}\n{END}\n");
        if let Some(request) = request(i, &subjects(story, &spread, stories.len())) {
            asked_for += &format!("<|user|>{request}<|end|><|assistant|>{story}<|end|>{END}\n");
        }
    }
    plain + &asked_for
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
