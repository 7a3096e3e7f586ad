//! Questions with answers to choose from, and texts with an end to guess, as data sets of tests
//! hold them. What is put to the model is what lm-evaluation-harness puts to it (its tasks'
//! `doc_to_text` and `doc_to_choice`, read in 2026), or what its sample files (`--log_samples`)
//! say that it did.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use ternary_core::words::counted;

use super::documents::json_problem;
use super::parquet;
use super::text::read_plain;
use crate::error::{Error, IoContext, Result};

/// One question: continuations of contexts, of which the likeliest is the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Context and continuation of every answer.
    pub answers: Vec<(String, String)>,
    /// The right one; with one answer only, its words are to be guessed.
    pub right: usize,
    /// Letters that the likelihood of each answer is divided by for acc_norm.
    pub lengths: Vec<usize>,
}

/// How a data set writes its questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape(&'static str);

impl Shape {
    /// For people.
    pub fn name(self) -> &'static str {
        self.0
    }
}

/// Questions of one file.
#[derive(Clone, Debug)]
pub struct Task {
    /// The file's name without its extension.
    pub name: String,
    /// How they are written.
    pub shape: Shape,
    /// At least one.
    pub questions: Vec<Question>,
}

/// The tasks in a file (`.jsonl`, `.json`, `.parquet`), or of every such file in a folder.
///
/// # Errors
/// They name the file and the line, and say what was expected.
pub fn tasks(path: &Path) -> Result<Vec<Task>> {
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).at("read", path)? {
            let file = entry.at("read", path)?.path();
            if kind(&file).is_some() {
                files.push(file);
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(Error::Data(format!(
                "{}: there is no .jsonl, .json or .parquet file in this folder",
                path.display()
            )));
        }
    } else {
        files.push(path.to_owned());
    }
    files.iter().map(task).collect()
}

fn kind(path: &Path) -> Option<&str> {
    let kind = path.extension()?.to_str()?;
    ["jsonl", "json", "parquet"].contains(&kind).then_some(kind)
}

fn task(path: &PathBuf) -> Result<Task> {
    let name = path.display().to_string();
    let fail = |place: &str, what: String| Error::Data(format!("{name}: {place}{what}"));
    let mut questions = Vec::new();
    let mut shape = None;
    let mut take = |place: String, value: &Value| -> Result<()> {
        let doc = value
            .as_object()
            .ok_or_else(|| fail(&place, "a question is a JSON object".to_owned()))?;
        let (found, question) = question(doc).map_err(|what| fail(&place, what))?;
        if *shape.get_or_insert(found) != found {
            return Err(fail(
                &place,
                format!("{} after {}", found.0, shape.map_or("", |shape| shape.0)),
            ));
        }
        questions.push(question);
        Ok(())
    };
    if kind(path) == Some("parquet") {
        let mut number = 0;
        parquet::rows(path, &name, &COLUMNS, &mut |row| {
            number += 1;
            take(format!("row {number}: "), &Value::Object(row))
        })?;
    } else {
        let bytes = std::fs::read(path).at("read", path)?;
        let text = read_plain(&name, &bytes)?;
        if text.trim_start().starts_with('[') {
            let all: Vec<Value> =
                serde_json::from_str(&text).map_err(|e| fail("", e.to_string()))?;
            for (i, value) in all.iter().enumerate() {
                take(format!("question {}: ", i + 1), value)?;
            }
        } else {
            for (i, line) in text.lines().enumerate() {
                if line.trim().is_empty() {
                    continue;
                }
                let place = format!("line {}: ", i + 1);
                let value = serde_json::from_str(line);
                let value = value.map_err(|e| fail(&place, json_problem(&e)))?;
                take(place, &value)?;
            }
        }
    }
    let shape = shape.ok_or_else(|| fail("", "there is no question in it".to_owned()))?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Task {
        name: stem.into_owned(),
        shape,
        questions,
    })
}

/// The fields that questions are made of.
const COLUMNS: [&str; 31] = [
    "activity_label",
    "answer",
    "answerKey",
    "arguments",
    "choice1",
    "choice2",
    "choices",
    "context",
    "correct_answer",
    "ctx_a",
    "ctx_b",
    "distractor1",
    "distractor2",
    "distractor3",
    "endings",
    "goal",
    "gold",
    "label",
    "option1",
    "option2",
    "passage",
    "premise",
    "query",
    "question",
    "question_stem",
    "sentence",
    "sol1",
    "sol2",
    "support",
    "target",
    "text",
];

type Doc = Map<String, Value>;

fn text(doc: &Doc, key: &str) -> Result<String, String> {
    match doc.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("`{key}` is {other}, not a text")),
        None => Err(format!("there is no `{key}`")),
    }
}

fn texts(value: Option<&Value>, key: &str) -> Result<Vec<String>, String> {
    let all = value.and_then(Value::as_array).map(|all| {
        let text = |v: &Value| v.as_str().map(str::to_owned);
        all.iter().map(text).collect::<Option<Vec<String>>>()
    });
    match all.flatten() {
        Some(all) if !all.is_empty() => Ok(all),
        _ => Err(format!("`{key}` is no list of texts")),
    }
}

/// A number, also one that is written as text; or true and false.
fn number(doc: &Doc, key: &str) -> Result<usize, String> {
    let value = doc.get(key).ok_or_else(|| format!("there is no `{key}`"))?;
    let found = match value {
        Value::Bool(yes) => Some(usize::from(*yes)),
        Value::Number(n) => n.as_u64().map(|n| n as usize),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    found.ok_or_else(|| format!("`{key}` is {value}, not the number of an answer"))
}

/// Answers behind one context, with a space between.
fn choose(context: &str, answers: &[String], right: usize) -> Result<Question, String> {
    let pairs = answers
        .iter()
        .map(|answer| (context.to_owned(), format!(" {answer}")))
        .collect();
    of_pairs(pairs, right, answers)
}

fn of_pairs(
    answers: Vec<(String, String)>,
    right: usize,
    measured: &[String],
) -> Result<Question, String> {
    if right >= answers.len() {
        return Err(format!(
            "the right answer is number {right} of {}, counted from 0",
            answers.len()
        ));
    }
    if let Some(at) = answers.iter().position(|(_, end)| end.trim().is_empty()) {
        return Err(format!("answer {at} is empty"));
    }
    Ok(Question {
        lengths: measured.iter().map(|text| text.chars().count()).collect(),
        answers,
        right,
    })
}

/// `{"text": […], "label": […]}`, and which of the labels is the key.
fn labelled(doc: &Doc) -> Result<(Vec<String>, usize), String> {
    let choices = doc.get("choices").and_then(Value::as_object);
    let of = |key| texts(choices.and_then(|c| c.get(key)), key);
    let (answers, labels) = (of("text")?, of("label")?);
    if answers.len() != labels.len() {
        return Err(format!(
            "`choices` has {} in `text` and {} in `label`",
            counted(answers.len(), "answer"),
            counted(labels.len(), "name")
        ));
    }
    let key = text(doc, "answerKey")?;
    let right = labels.iter().position(|label| *label == key);
    right.map(|right| (answers, right)).ok_or_else(|| {
        format!(
            "answerKey is `{key}`; the answers are {}",
            labels.join(", ")
        )
    })
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first
            .to_uppercase()
            .chain(letters.flat_map(char::to_lowercase))
            .collect(),
        None => String::new(),
    }
}

/// HellaSwag's texts without what WikiHow left in them.
fn without_marks(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(open) = rest.find('[') {
        let Some(close) = rest[open..].find(']') else {
            break;
        };
        out += &rest[..open];
        rest = &rest[open + close + 1..];
    }
    (out + rest).replace("  ", " ")
}

fn question(doc: &Doc) -> Result<(Shape, Question), String> {
    let has = |keys: &[&str]| keys.iter().all(|key| doc.contains_key(*key));
    let of = |shape: &'static str, question: Result<Question, String>| {
        question
            .map(|question| (Shape(shape), question))
            .map_err(|what| format!("{shape}: {what}"))
    };
    if has(&["arguments", "target"]) {
        return of("samples of lm-evaluation-harness", sample(doc));
    }
    if has(&["query", "choices"]) {
        let key = if has(&["gold"]) { "gold" } else { "label" };
        return of(
            "questions (query, choices, gold)",
            (|| {
                let answers = texts(doc.get("choices"), "choices")?;
                choose(&text(doc, "query")?, &answers, number(doc, key)?)
            })(),
        );
    }
    if has(&["endings", "ctx_a", "ctx_b", "activity_label"]) {
        return of(
            "HellaSwag",
            (|| {
                let (a, b) = (text(doc, "ctx_a")?, capitalized(&text(doc, "ctx_b")?));
                let context = format!("{}: {a} {b}", text(doc, "activity_label")?);
                let endings: Vec<String> = texts(doc.get("endings"), "endings")?
                    .iter()
                    .map(|ending| without_marks(ending))
                    .collect();
                choose(&without_marks(&context), &endings, number(doc, "label")?)
            })(),
        );
    }
    if has(&["question_stem", "choices", "answerKey"]) {
        return of(
            "OpenBookQA",
            (|| {
                let (answers, right) = labelled(doc)?;
                choose(&text(doc, "question_stem")?, &answers, right)
            })(),
        );
    }
    if has(&["question", "choices", "answerKey"]) {
        return of(
            "ARC",
            (|| {
                let (answers, right) = labelled(doc)?;
                let context = format!("Question: {}\nAnswer:", text(doc, "question")?);
                choose(&context, &answers, right)
            })(),
        );
    }
    if has(&["goal", "sol1", "sol2"]) {
        return of(
            "PIQA",
            (|| {
                let answers = [text(doc, "sol1")?, text(doc, "sol2")?];
                let context = format!("Question: {}\nAnswer:", text(doc, "goal")?);
                choose(&context, &answers, number(doc, "label")?)
            })(),
        );
    }
    if has(&["sentence", "option1", "option2", "answer"]) {
        return of("WinoGrande", winogrande(doc));
    }
    if has(&["passage", "question"]) {
        return of(
            "BoolQ",
            (|| {
                let key = if has(&["label"]) { "label" } else { "answer" };
                let (passage, asked) = (text(doc, "passage")?, text(doc, "question")?);
                let context = format!("{passage}\nQuestion: {asked}?\nAnswer:");
                choose(
                    &context,
                    &["no".to_owned(), "yes".to_owned()],
                    number(doc, key)?,
                )
            })(),
        );
    }
    if has(&["support", "question", "correct_answer", "distractor1"]) {
        return of(
            "SciQ",
            (|| {
                let keys = [
                    "distractor1",
                    "distractor2",
                    "distractor3",
                    "correct_answer",
                ];
                let answers: Vec<String> = keys
                    .iter()
                    .map(|key| text(doc, key))
                    .collect::<Result<_, _>>()?;
                let (support, asked) = (text(doc, "support")?, text(doc, "question")?);
                let context = format!("{}\nQuestion: {asked}\nAnswer:", support.trim_start());
                choose(&context, &answers, 3)
            })(),
        );
    }
    if has(&["premise", "choice1", "choice2"]) {
        return of("COPA", copa(doc));
    }
    if has(&["question", "choices", "answer"]) {
        return of("MMLU", mmlu(doc));
    }
    if has(&["context", "target"]) {
        return of(
            "texts with an end to guess (context, target)",
            (|| {
                let target = text(doc, "target")?;
                let pair = (text(doc, "context")?, target.clone());
                of_pairs(vec![pair], 0, &[target])
            })(),
        );
    }
    if has(&["text"]) {
        return of(
            "LAMBADA",
            (|| {
                let text = text(doc, "text")?;
                // Space behind the last word is none of it.
                let (context, last) = text
                    .trim_end()
                    .rsplit_once(' ')
                    .ok_or("the text has one word only; the last one is to be guessed")?;
                let last = format!(" {last}");
                of_pairs(vec![(context.to_owned(), last.clone())], 0, &[last])
            })(),
        );
    }
    Err(format!(
        "this is no question that is known; it has {}. Known are query, choices and gold; context \
         and target; samples of lm-evaluation-harness; and the fields of ARC, BoolQ, COPA, \
         HellaSwag, LAMBADA, MMLU, OpenBookQA, PIQA, SciQ and WinoGrande",
        doc.keys()
            .map(|key| format!("`{key}`"))
            .collect::<Vec<_>>()
            .join(", ")
    ))
}

fn winogrande(doc: &Doc) -> Result<Question, String> {
    let sentence = text(doc, "sentence")?;
    let (before, after) = sentence
        .split_once('_')
        .ok_or("`sentence` has no _ to fill")?;
    let end = format!(" {}", after.trim());
    let pairs = ["option1", "option2"]
        .iter()
        .map(|key| Ok((before.to_owned() + &text(doc, key)?, end.clone())))
        .collect::<Result<Vec<_>, String>>()?;
    let right = number(doc, "answer")?
        .checked_sub(1)
        .ok_or("`answer` is 1 or 2")?;
    of_pairs(pairs, right, &[end.clone(), end])
}

fn copa(doc: &Doc) -> Result<Question, String> {
    let premise = text(doc, "premise")?;
    let link = match text(doc, "question")?.as_str() {
        "cause" => "because",
        "effect" => "therefore",
        other => return Err(format!("`question` is `{other}`, not cause or effect")),
    };
    let mut premise = premise.trim().to_owned();
    premise.pop();
    let small = |text: String| {
        let mut letters = text.chars();
        let first = letters.next().map(char::to_lowercase);
        first
            .into_iter()
            .flatten()
            .chain(letters)
            .collect::<String>()
    };
    let answers = [small(text(doc, "choice1")?), small(text(doc, "choice2")?)];
    choose(
        &format!("{premise} {link}"),
        &answers,
        number(doc, "label")?,
    )
}

fn mmlu(doc: &Doc) -> Result<Question, String> {
    let answers = texts(doc.get("choices"), "choices")?;
    let letters: Vec<String> = ('A'..='Z').take(answers.len()).map(String::from).collect();
    let mut context = text(doc, "question")?.trim().to_owned();
    for (letter, answer) in letters.iter().zip(&answers) {
        context += &format!("\n{letter}. {answer}");
    }
    choose(&(context + "\nAnswer:"), &letters, number(doc, "answer")?)
}

/// What the harness says that it put to a model.
fn sample(doc: &Doc) -> Result<Question, String> {
    let arguments = doc.get("arguments");
    let all: Vec<&Value> = match arguments {
        Some(Value::Array(all)) => all.iter().collect(),
        // By names that count: gen_args_0 and so on.
        Some(Value::Object(all)) => {
            let mut named: Vec<(&String, &Value)> = all.iter().collect();
            let count = |name: &str| {
                let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
                digits.parse::<usize>().unwrap_or(usize::MAX)
            };
            named.sort_by_key(|(name, _)| count(name));
            named.into_iter().map(|(_, value)| value).collect()
        }
        _ => Vec::new(),
    };
    let pair = |value: &Value| -> Option<(String, String)> {
        let part = |i: usize| match value {
            Value::Array(parts) => parts.get(i)?.as_str(),
            Value::Object(parts) => parts.get(&format!("arg_{i}"))?.as_str(),
            _ => None,
        };
        Some((part(0)?.to_owned(), part(1)?.to_owned()))
    };
    let pairs: Option<Vec<(String, String)>> = all.into_iter().map(pair).collect();
    let pairs = pairs.filter(|pairs| !pairs.is_empty()).ok_or(
        "`arguments` are not pairs of a context and a continuation; only tasks that compare likelihoods can be scored",
    )?;
    let measured: Vec<String> = pairs
        .iter()
        .map(|(_, end)| end.strip_prefix(' ').unwrap_or(end).to_owned())
        .collect();
    let right = match pairs.len() {
        1 => 0,
        _ => number(doc, "target")?,
    };
    of_pairs(pairs, right, &measured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<(Shape, Question), String> {
        question(value.as_object().unwrap())
    }

    #[test]
    fn known_data_sets_are_put_as_the_harness_puts_them() {
        let cases = [
            (
                json!({"query": "2+2=", "choices": ["3", "4"], "gold": 1}),
                "questions (query, choices, gold)",
                vec![("2+2=", " 3"), ("2+2=", " 4")],
                1,
            ),
            (
                json!({"id": "x", "question": "Why?", "answerKey": "B",
                    "choices": {"text": ["So.", "Because."], "label": ["A", "B"]}}),
                "ARC",
                vec![
                    ("Question: Why?\nAnswer:", " So."),
                    ("Question: Why?\nAnswer:", " Because."),
                ],
                1,
            ),
            (
                json!({"question_stem": "Frogs", "answerKey": "1",
                    "choices": {"text": ["hop", "fly"], "label": ["1", "2"]}}),
                "OpenBookQA",
                vec![("Frogs", " hop"), ("Frogs", " fly")],
                0,
            ),
            (
                json!({"activity_label": "Cooking", "ctx_a": "A man stirs.", "ctx_b": "he THEN",
                    "endings": ["eats. [step] Fine", "sleeps [title] well"], "label": "0"}),
                "HellaSwag",
                vec![
                    ("Cooking: A man stirs. He then", " eats. Fine"),
                    ("Cooking: A man stirs. He then", " sleeps. well"),
                ],
                0,
            ),
            (
                json!({"goal": "Dry", "sol1": "sun", "sol2": "rain", "label": 0}),
                "PIQA",
                vec![
                    ("Question: Dry\nAnswer:", " sun"),
                    ("Question: Dry\nAnswer:", " rain"),
                ],
                0,
            ),
            (
                json!({"sentence": "The cup is in the bag because _ is big.", "option1": "bag",
                    "option2": "cup", "answer": "1"}),
                "WinoGrande",
                vec![
                    ("The cup is in the bag because bag", " is big."),
                    ("The cup is in the bag because cup", " is big."),
                ],
                0,
            ),
            (
                json!({"passage": "Rain is wet.", "question": "is rain wet", "answer": true}),
                "BoolQ",
                vec![
                    ("Rain is wet.\nQuestion: is rain wet?\nAnswer:", " no"),
                    ("Rain is wet.\nQuestion: is rain wet?\nAnswer:", " yes"),
                ],
                1,
            ),
            (
                json!({"support": " S.", "question": "Q?", "correct_answer": "d", "distractor1": "a",
                    "distractor2": "b", "distractor3": "c"}),
                "SciQ",
                ["a", "b", "c", "d"]
                    .map(|_| ("S.\nQuestion: Q?\nAnswer:", ""))
                    .to_vec(),
                3,
            ),
            (
                json!({"premise": "It rained.", "choice1": "I got wet.", "choice2": "Dry.",
                    "question": "effect", "label": 0}),
                "COPA",
                vec![
                    ("It rained therefore", " i got wet."),
                    ("It rained therefore", " dry."),
                ],
                0,
            ),
            (
                json!({"question": "Sky? ", "choices": ["red", "blue"], "answer": 1}),
                "MMLU",
                vec![
                    ("Sky?\nA. red\nB. blue\nAnswer:", " A"),
                    ("Sky?\nA. red\nB. blue\nAnswer:", " B"),
                ],
                1,
            ),
            (
                json!({"text": "He opened the door"}),
                "LAMBADA",
                vec![("He opened the", " door")],
                0,
            ),
            (
                json!({"text": "He opened the door. \n"}),
                "LAMBADA",
                vec![("He opened the", " door.")],
                0,
            ),
            (
                json!({"doc": {}, "target": "1", "arguments": {"gen_args_1": {"arg_0": "a", "arg_1": " c"},
                    "gen_args_0": {"arg_0": "a", "arg_1": " b"}}}),
                "samples of lm-evaluation-harness",
                vec![("a", " b"), ("a", " c")],
                1,
            ),
        ];
        for (doc, shape, pairs, right) in cases {
            let (found, question) = read(&doc).unwrap();
            assert_eq!((found.name(), question.right), (shape, right));
            if shape == "SciQ" {
                let all: Vec<_> = question.answers.iter().map(|a| a.1.as_str()).collect();
                assert_eq!(all, [" a", " b", " c", " d"]);
                continue;
            }
            let got: Vec<(&str, &str)> = question
                .answers
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .collect();
            assert_eq!(got, pairs, "{shape}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_question_is_said() {
        let cases = [
            (json!({"a": 1, "b": 2}), "it has `a`, `b`"),
            (
                json!({"query": "q", "choices": [], "gold": 0}),
                "`choices` is no list of texts",
            ),
            (
                json!({"query": "q", "choices": ["x"], "gold": 1}),
                "number 1 of 1",
            ),
            (
                json!({"query": "q", "choices": ["x", " "], "gold": 1}),
                "answer 1 is empty",
            ),
            (
                json!({"query": "q", "choices": ["x"], "gold": "z"}),
                "not the number",
            ),
            (json!({"text": "word"}), "one word only"),
            (
                json!({"sentence": "no gap", "option1": "a", "option2": "b", "answer": "1"}),
                "no _",
            ),
            (
                json!({"question": "Q", "answerKey": "D", "choices": {"text": ["a"], "label": ["A"]}}),
                "the answers are A",
            ),
            (
                json!({"question": "Q", "answerKey": "A", "choices": {"text": ["a", "b"], "label": ["A"]}}),
                "2 answers in `text` and 1 name in `label`",
            ),
        ];
        for (doc, reason) in cases {
            let error = read(&doc).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn files_are_named_with_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put(
            "b.jsonl",
            "{\"text\": \"one two\"}\n\n{\"text\": \"three four\"}\n",
        );
        put(
            "a.json",
            "[{\"query\": \"q\", \"choices\": [\"x\", \"y\"], \"gold\": 0}]",
        );
        put("notes.txt", "not a task");
        let all = tasks(folder.path()).unwrap();
        let found: Vec<_> = all
            .iter()
            .map(|t| (t.name.as_str(), t.questions.len()))
            .collect();
        assert_eq!(found, [("a", 1), ("b", 2)]);
        put("c.jsonl", "{\"text\": \"one two\"}\n{\"text\": 3}\n");
        let error = tasks(&folder.path().join("c.jsonl"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("c.jsonl: line 2: LAMBADA: `text` is 3"),
            "{error}"
        );
        put("e.jsonl", "{\"text\": \"a b\"}\n{\"text\": \"a");
        let error = tasks(&folder.path().join("e.jsonl"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("e.jsonl: line 2: the JSON ends in the middle"),
            "{error}"
        );
        put(
            "d.jsonl",
            "{\"text\": \"a b\"}\n{\"context\": \"a\", \"target\": \"b\"}\n",
        );
        let error = tasks(&folder.path().join("d.jsonl"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 2: texts with an end"), "{error}");
    }
}
