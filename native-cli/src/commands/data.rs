//! `onebit data`: what training would make of files, before it does.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use ternary::data::{self, CONTEXT, Encoder, FIRST, Layout};
use ternary::format::escaped;
use ternary::tokenizer::{ChatTemplate, Tokenizer};
use ternary::words::counted;

use crate::args::{Data, TrainOn};
use crate::commands::{template, tokenize};
use crate::output::outln;

/// Characters shown of an example.
const SHOWN: usize = 2000;
/// Around what is learnt, where there are no colors.
const MARKS: [&str; 2] = ["⟦", "⟧"];

/// What makes ids of the texts and conversations to learn from.
pub fn encoder(tokenizer: &Tokenizer, template: Option<ChatTemplate>, on: TrainOn) -> Encoder {
    let encoder = Encoder::new(tokenizer, template);
    match on {
        TrainOn::Assistant => encoder.assistant_only(),
        TrainOn::All => encoder,
    }
}

pub fn run(a: &Data) -> Result<()> {
    ensure!(
        a.context != Some(0),
        "--context 0: a window has at least one token"
    );
    let (tokenizer, own, context) = match (&a.model, &a.tokenizer) {
        (Some(model), _) => {
            let (tokenizer, own, context) = template::companions(model)?;
            (tokenizer, own, Some(context))
        }
        (None, Some(file)) => (tokenize::read(file)?.0, None, None),
        (None, None) => bail!("give --model PATH, or --tokenizer FILE"),
    };
    let template = match &a.chat_template {
        Some(path) => Some(tokenize::template(path)?),
        None => own,
    };
    let encoder = encoder(&tokenizer, template, a.train_on).with_pairs();
    let files = data::text_files(&a.path)?;
    let mut found = Found {
        context: a.context.or(context),
        ..Found::default()
    };
    // Documents that are read in pieces.
    let mut open: Option<Seen> = None;
    data::encode_files(&encoder, &files, &mut |piece, _| {
        if open.as_ref().is_some_and(|seen| seen.file != piece.file) {
            found.end(open.take(), a.examples);
        }
        if !piece.ids.is_empty() {
            let seen = open.get_or_insert_with(|| Seen {
                file: piece.file,
                layout: piece.layout,
                ..Seen::default()
            });
            seen.add(&piece.ids, found.examples.len() < a.examples);
        }
        if piece.ends_document {
            found.end(open.take(), a.examples);
        }
        Ok(())
    })?;
    found.end(open, a.examples);
    let examples: Vec<Value> = found
        .examples
        .iter()
        .map(|seen| {
            let parts = |ids: &[u32]| -> Vec<Value> {
                let parts = parts(&tokenizer, ids);
                parts
                    .map(|(text, learnt)| json!({"text": text, "learnt": learnt}))
                    .collect()
            };
            let mut example = json!({
                "file": files[seen.file].name(),
                "layout": seen.layout.name(),
                "tokens": seen.tokens,
                "learnt": seen.learnt,
            });
            match sides(&seen.ids) {
                (all, None) => example["parts"] = parts(all).into(),
                (chosen, Some(rejected)) => {
                    example["chosen"] = parts(chosen).into();
                    example["rejected"] = parts(rejected).into();
                }
            }
            example
        })
        .collect();
    if a.json {
        let mut object = found.figures();
        object["files"] = files.len().into();
        object["examples"] = examples.into();
        outln!("{object}");
        return Ok(());
    }
    let terminal = std::io::stdout().is_terminal();
    for (i, seen) in found.examples.iter().enumerate() {
        outln!(
            "Example {}: {}, {}, {} of them learnt ({})",
            i + 1,
            seen.layout.name(),
            counted(seen.tokens, "token"),
            seen.learnt,
            files[seen.file].name()
        );
        match sides(&seen.ids) {
            (all, None) => outln!("{}", shown(&tokenizer, all, terminal)),
            (chosen, Some(rejected)) => {
                outln!("Chosen:\n{}", shown(&tokenizer, chosen, terminal));
                outln!("Rejected:\n{}", shown(&tokenizer, rejected, terminal));
            }
        }
        outln!("");
    }
    if !found.examples.is_empty() {
        outln!(
            "What is learnt is {}.\n",
            match terminal {
                true => "green",
                false => "between ⟦ and ⟧",
            }
        );
    }
    outln!("{}", found.summary(files.len()));
    Ok(())
}

/// A document, as far as it was read.
#[derive(Default)]
struct Seen {
    file: usize,
    layout: Layout,
    tokens: usize,
    /// Tokens that a window needs for it: of a pair, those of the longer side.
    longest: usize,
    learnt: usize,
    /// Of an example.
    ids: Vec<u32>,
}

impl Seen {
    fn add(&mut self, ids: &[u32], keep: bool) {
        self.tokens += ids.len();
        let (one, other) = sides(ids);
        self.longest += other.map_or(one.len(), |other| one.len().max(other.len()));
        self.learnt += ids.iter().filter(|id| **id & CONTEXT == 0).count();
        // No token has more characters than are shown of a whole example.
        if keep && self.ids.len() < SHOWN {
            self.ids.extend(&ids[..ids.len().min(SHOWN)]);
        }
    }
}

#[derive(Default)]
struct Found {
    context: Option<usize>,
    layouts: BTreeMap<Layout, usize>,
    /// Tokens that a window needs for every document.
    lengths: Vec<usize>,
    tokens: usize,
    learnt: usize,
    /// Documents of which nothing is learnt.
    silent: usize,
    examples: Vec<Seen>,
}

impl Found {
    fn end(&mut self, seen: Option<Seen>, examples: usize) {
        let Some(seen) = seen else {
            return;
        };
        *self.layouts.entry(seen.layout).or_default() += 1;
        self.lengths.push(seen.longest);
        self.tokens += seen.tokens;
        self.learnt += seen.learnt;
        self.silent += usize::from(seen.learnt == 0);
        if self.examples.len() < examples {
            self.examples.push(seen);
        }
    }

    /// The shortest length, the median, that which nine of ten and 99 of 100 do not exceed, and the
    /// longest.
    fn quantiles(&self) -> Option<[usize; 5]> {
        let mut sorted = self.lengths.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        Some([0.0, 0.5, 0.9, 0.99, 1.0].map(|q| sorted[(q * last as f64).round() as usize]))
    }

    fn too_long(&self) -> Option<usize> {
        let context = self.context?;
        Some(self.lengths.iter().filter(|len| **len > context).count())
    }

    fn figures(&self) -> Value {
        let layouts: BTreeMap<&str, usize> =
            self.layouts.iter().map(|(l, n)| (l.name(), *n)).collect();
        let lengths = self.quantiles().map(|[min, median, p90, p99, max]| {
            json!({"min": min, "median": median, "p90": p90, "p99": p99, "max": max})
        });
        json!({
            "documents": self.lengths.len(),
            "layouts": layouts,
            "tokens": self.tokens,
            "learnt": self.learnt,
            "without_learnt": self.silent,
            "lengths": lengths,
            "context": self.context,
            "longer_than_context": self.too_long(),
        })
    }

    fn summary(&self, files: usize) -> String {
        let tokens = self.tokens;
        let mut out = format!(
            "{}, {}\n",
            counted(files, "file"),
            counted(self.lengths.len(), "document")
        );
        for (layout, count) in &self.layouts {
            out += &format!("{count:>12}  {}\n", layout.name());
        }
        let share = 100.0 * self.learnt as f64 / tokens.max(1) as f64;
        out += &format!(
            "{}, {} of them learnt ({share:.1} %)\n",
            counted(tokens, "token"),
            self.learnt
        );
        if let Some([min, median, p90, p99, max]) = self.quantiles() {
            out += &format!(
                "tokens a document: {min} to {max}, half of them at most {median}, nine of ten {p90}, 99 of 100 {p99}\n"
            );
        }
        if self.silent > 0 {
            out += &format!(
                "{}: the assistant says nothing in {} (--train-on all learns the rest)\n",
                match self.silent {
                    1 => "1 document teaches nothing".to_owned(),
                    many => format!("{many} documents teach nothing"),
                },
                if self.silent == 1 { "it" } else { "them" }
            );
        }
        match (self.context, self.too_long()) {
            (Some(context), Some(long)) if long > 0 => {
                let window = counted(context, "token");
                let (documents, they) = match long {
                    1 => ("1 document is".to_owned(), "it is"),
                    many => (format!("{many} documents are"), "they are"),
                };
                out += &format!(
                    "{documents} longer than a window of {window}: {they} cut, and what comes behind a cut is read without what was before it\n"
                );
            }
            (Some(context), _) => {
                let all = if self.lengths.len() == 1 {
                    "it fits"
                } else {
                    "all fit"
                };
                out += &format!("{all} into a window of {}\n", counted(context, "token"));
            }
            _ => {}
        }
        out.truncate(out.trim_end().len());
        out
    }
}

/// The tokens of a document, or of the two sides of a preference pair.
fn sides(ids: &[u32]) -> (&[u32], Option<&[u32]>) {
    match ids.iter().rposition(|id| id & FIRST != 0) {
        Some(second) if second > 0 => (&ids[..second], Some(&ids[second..])),
        _ => (ids, None),
    }
}

/// The text of ids, in stretches that are learnt or not.
fn parts<'a>(
    tokenizer: &'a Tokenizer,
    ids: &'a [u32],
) -> impl Iterator<Item = (String, bool)> + 'a {
    let stretches = ids.chunk_by(|a, b| (a ^ b) & CONTEXT == 0);
    stretches.map(|ids| {
        let mut text = String::new();
        let mut words = Vec::new();
        let say = |words: &mut Vec<u32>, text: &mut String| {
            *text += &tokenizer.decode(words).unwrap_or_default();
            words.clear();
        };
        for id in ids.iter().map(|id| id & !(CONTEXT | FIRST)) {
            match tokenizer.special_text(id) {
                Some(mark) => {
                    say(&mut words, &mut text);
                    text += mark;
                }
                None => words.push(id),
            }
        }
        say(&mut words, &mut text);
        (text, ids[0] & CONTEXT == 0)
    })
}

/// An example for people: what a terminal would obey is shown instead.
fn shown(tokenizer: &Tokenizer, ids: &[u32], terminal: bool) -> String {
    let [before, behind] = match terminal {
        true => ["\u{1b}[32m", "\u{1b}[0m"],
        false => MARKS,
    };
    let mut out = String::new();
    let mut left = SHOWN;
    for (text, learnt) in parts(tokenizer, ids) {
        let some: String = text.chars().take(left).collect();
        left -= some.chars().count();
        let lines: Vec<String> = some.split('\n').map(escaped).collect();
        let text = lines.join("\n");
        match learnt {
            true => out += &format!("{before}{text}{behind}"),
            false => out += &text,
        }
        if left == 0 {
            out += " …";
            break;
        }
    }
    out
}
