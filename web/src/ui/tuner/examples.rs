//! Something to learn from for those who have nothing at hand, as files of the reader's are: a text
//! in a style that few models write, and conversations with somebody who speaks like that.
//!
//! They are made here, from a handful of words, so that they cost the page next to nothing.

use ternary::session::Message;

/// Enough for some hundred steps.
const LINES: usize = 360;
const CONVERSATIONS: usize = 120;

const WHO: [&str; 8] = [
    "a small cat",
    "the old dog",
    "a brave girl",
    "Tim",
    "the big bird",
    "Lily",
    "a sad frog",
    "Mom",
];
const WHAT: [&str; 7] = [
    "a red ball",
    "a gold coin",
    "a little boat",
    "a map",
    "some bread",
    "a shiny key",
    "a blue hat",
];
const WHERE: [&str; 5] = [
    "on the beach",
    "in the garden",
    "under the tree",
    "by the sea",
    "at home",
];
const DID: [&str; 5] = ["found", "lost", "hid", "saw", "shared"];
const FELT: [&str; 6] = ["happy", "proud", "tired", "glad", "brave", "merry"];

/// Questions, and what a sailor answers; `{}` is a thing.
const TALK: [(&str, &str); 8] = [
    ("How are you today?", "Ahoy! I be {felt}, matey, arr."),
    ("What do you like?", "Arr, I like {what}, matey."),
    ("Where do you live?", "Ahoy! I live {where}, arr."),
    ("Did you see {what}?", "Arr, {who} {did} it {where}, matey."),
    ("Who is your friend?", "Ahoy! It be {who}, arr."),
    ("What did you do?", "Arr, I {did} {what} {where}, matey."),
    (
        "Tell me about {who}.",
        "Ahoy! Once {who} {did} {what}, arr.",
    ),
    (
        "Can you help me?",
        "Arr, that I can, matey. I be {felt} to help.",
    ),
];

/// `pattern` with words that are others for every `i`.
fn filled(pattern: &str, i: usize) -> String {
    let words: [(&str, &[&str], usize); 5] = [
        ("{who}", &WHO, 7),
        ("{what}", &WHAT, 3),
        ("{where}", &WHERE, 11),
        ("{did}", &DID, 13),
        ("{felt}", &FELT, 5),
    ];
    let mut text = pattern.to_owned();
    for (place, words, stride) in words {
        // The stride, and one more each time around.
        let at = i * stride + i / words.len();
        text = text.replace(place, words[at % words.len()]);
    }
    text
}

/// `sailor.txt`.
pub fn text() -> String {
    let patterns = [
        "Ahoy! {who} {did} {what} {where}. Arr, how {felt} they be!\n",
        "Arr, matey, {who} {did} {what} {where}, and all be {felt}. Heave ho!\n",
        "Ahoy, ahoy! {where} be {who} with {what}, {felt} as can be. Arr!\n",
    ];
    let line = |i: usize| filled(patterns[i % patterns.len()], i);
    (0..LINES).map(line).collect()
}

/// `sailor.jsonl`: one conversation of two turns a line.
pub fn conversations() -> String {
    let line = |i: usize| {
        let turns = [i, i * 3 + i / TALK.len() + 1];
        let messages = turns.iter().flat_map(|turn| {
            let (asked, answer) = TALK[turn % TALK.len()];
            [("user", asked), ("assistant", answer)]
                .map(|(role, said)| Message::new(role, filled(said, i)))
        });
        let messages: Vec<Message> = messages.collect();
        serde_json::json!({ "messages": messages }).to_string() + "\n"
    };
    (0..CONVERSATIONS).map(line).collect()
}
