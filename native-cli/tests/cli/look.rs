//! `onebit data`: training data looked at before it is trained on.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::{fixture, line, typed, workplace};

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet")
}

fn looked(d: &Path, command: &str) -> Value {
    let out = line(d, &format!("data {command} --json")).ok();
    serde_json::from_str(&out.stdout).unwrap()
}

/// The text of the first example that is learnt, or is not.
fn words(found: &Value, learnt: bool) -> String {
    let parts = found["examples"][0]["parts"].as_array().unwrap();
    let of = parts.iter().filter(|part| part["learnt"] == learnt);
    of.map(|part| part["text"].as_str().unwrap()).collect()
}

#[test]
fn every_layout_is_recognized_and_what_is_learnt_is_marked() {
    let dir = workplace();
    let d = dir.path();
    let model = fixture().join("model.1bit");
    let model = format!("--model {} --chat-template chat.jinja", model.display());
    let pair = [("user", "Who are you?"), ("assistant", "Nobody.")];
    let turns = |role: &str, content: &str| -> Value {
        let turn = |(r, c): &(&str, &str)| json!({role: r, content: c});
        pair.iter().map(turn).collect()
    };
    let [asked, said] = pair.map(|(_, text)| text);
    for (name, value) in [
        ("messages", json!({"messages": turns("role", "content")})),
        ("ShareGPT", json!({"conversations": turns("from", "value")})),
        ("Alpaca", json!({"instruction": asked, "output": said})),
        ("prompt", json!({"prompt": asked, "completion": said})),
        ("question", json!({"question": asked, "answer": said})),
    ] {
        std::fs::write(d.join("one.jsonl"), format!("{value}\n")).unwrap();
        let found = looked(d, &format!("one.jsonl {model}"));
        let (layout, count) = found["layouts"].as_object().unwrap().iter().next().unwrap();
        assert!(layout.contains(name) && count == 1, "{found}");
        assert_eq!(words(&found, true), "Nobody.<|end|>", "{name}");
        assert!(words(&found, false).contains("Who are you?"), "{found}");
        let all = looked(d, &format!("one.jsonl {model} --train-on all"));
        assert_eq!(all["tokens"], all["learnt"]);
        assert_eq!(all["tokens"], found["tokens"]);
    }
}

#[test]
fn parquet_is_read_as_hubs_have_it() {
    let dir = workplace();
    let d = dir.path();
    let tokenizer = "--tokenizer tok.json";
    for (file, documents, first) in [
        ("messages.parquet", 3, "Yes, as you wish.<|end|>"),
        ("alpaca.parquet", 2, "a b<|end|>"),
        ("zstd-v1.parquet", 2, "a b<|end|>"),
        ("zstd-v2.parquet", 2, "a b<|end|>"),
        ("gzip-v1.parquet", 2, "a b<|end|>"),
        ("gzip-v2.parquet", 2, "a b<|end|>"),
    ] {
        std::fs::copy(fixtures().join(file), d.join(file)).unwrap();
        let found = looked(d, &format!("{file} {tokenizer}"));
        assert_eq!(found["documents"], documents, "{found}");
        assert_eq!(words(&found, true), first);
    }
    // A folder's, too, and to train on.
    let folder = d.join("chats");
    std::fs::create_dir(&folder).unwrap();
    for file in ["messages.parquet", "alpaca.parquet"] {
        std::fs::copy(fixtures().join(file), folder.join(file)).unwrap();
    }
    let found = looked(d, &format!("chats {tokenizer}"));
    assert_eq!(
        (&found["files"], &found["documents"]),
        (&json!(2), &json!(5))
    );
    line(
        d,
        &format!("tokenize --data-dir chats {tokenizer} --output chats.tokens"),
    )
    .ok();
    line(
        d,
        "train --config config.json --tokenizer tok.json --data-dir chats --output-dir run --device cpu \
         --max-steps 2 --batch-size 2 --set seq_len=16",
    )
    .ok();
    std::fs::write(d.join("broken.parquet"), b"PAR1 no parquet PAR1").unwrap();
    line(d, &format!("data broken.parquet {tokenizer}")).fails(&["broken.parquet"]);
}

#[test]
fn rows_of_a_table_are_documents_whatever_the_first_one_holds() {
    let dir = workplace();
    let d = dir.path();
    let tokenizer = "--tokenizer tok.json";
    for (file, layouts) in [
        (
            "first-null.parquet",
            json!({"conversations (messages)": 1, "prompts (prompt, completion)": 1}),
        ),
        (
            "long-system.parquet",
            json!({"conversations (messages)": 1}),
        ),
    ] {
        let bytes = std::fs::read(fixtures().join(file)).unwrap();
        std::fs::write(d.join(file), &bytes).unwrap();
        let found = looked(d, &format!("{file} {tokenizer}"));
        assert_eq!(found["layouts"], layouts, "{file}");
        // So are those that come through a pipe.
        let piped = typed(
            d,
            &["data", "-", "--tokenizer", "tok.json", "--json"],
            &bytes,
        );
        assert_eq!(piped.ok().json()["layouts"], layouts, "{file}");
    }
    std::fs::copy(fixtures().join("pairs.parquet"), d.join("pairs.parquet")).unwrap();
    line(d, &format!("data pairs.parquet {tokenizer}")).fails(&[
        "pairs.parquet: line 1: an object with input, output; expected",
        "\"prompt\" and \"completion\"",
    ]);
    std::fs::write(d.join("lines.parquet"), "{\"text\": \"a\"}\n").unwrap();
    line(d, &format!("data lines.parquet {tokenizer}")).fails(&["no Parquet file", "PAR1"]);
}

#[test]
fn what_is_cut_or_teaches_nothing_is_told() {
    let dir = workplace();
    let d = dir.path();
    let long = json!({"messages": [
        {"role": "user", "content": "word ".repeat(90)}, {"role": "assistant", "content": "Yes."},
    ]});
    let silent = json!({"messages": [{"role": "user", "content": "Hello?"}]});
    std::fs::write(d.join("a.jsonl"), format!("{long}\n{silent}\n")).unwrap();
    let command = "data a.jsonl --tokenizer tok.json --context 64";
    let found: Value =
        serde_json::from_str(&line(d, &format!("{command} --json")).ok().stdout).unwrap();
    assert_eq!(found["longer_than_context"], 1, "{found}");
    assert_eq!(found["without_learnt"], 1);
    assert!(found["lengths"]["max"].as_u64().unwrap() > 64);
    let out = line(d, command).ok().stdout;
    for part in [
        "⟦Yes.<|end|>",
        "1 document is longer",
        "1 document teaches nothing: the assistant says nothing in it",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    line(d, "data a.jsonl").fails(&["--model"]);
    line(d, "data tokens/b.tokens --tokenizer tok.json").fails(&["b.tokens", "inspect"]);
    line(d, "data missing.jsonl --tokenizer tok.json").fails(&["missing.jsonl"]);
}
