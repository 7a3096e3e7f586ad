//! Texts and tokens: what a model writes, what people type, what data sets hold.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;
use ternary_scripted::SentencePiece;

use crate::common::line;
use crate::support::{CHATML, Chain, Llama, Model, Place, Tokenizer, put, reply, typed};

/// A SentencePiece model that answers `starts` with `pieces`.
fn sentence_piece(pieces: &[&str], ends: SentencePiece, starts: &[&str]) -> Model {
    let tokenizer = Tokenizer::sentence_piece(pieces, ends);
    let chain = Chain::walk(&tokenizer, starts, pieces, "</s>");
    let end = tokenizer.id("</s>");
    Model::new(tokenizer, Llama::default(), chain)
        .config("eos_token_id", json!(end))
        .config("bos_token_id", json!(1))
        .setting("bos_token", json!("<s>"))
        .setting("eos_token", json!("</s>"))
}

const BEGIN: SentencePiece = SentencePiece {
    bos: true,
    eos: false,
};

#[test]
fn the_first_generated_word_keeps_its_space() {
    let pieces = [" there", " was", " a", " fox"];
    let place = Place::new();
    let mut model = sentence_piece(&pieces, BEGIN, &["n"]);
    model.write_hf(&place.at("strip"));
    model.tokenizer.json["decoder"] = json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"},
        {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true}]});
    model.write_hf(&place.at("metaspace"));
    for folder in ["strip", "metaspace"] {
        place.import(folder, &[]).ok();
        assert_eq!(place.generate("Once upon"), " there was a fox", "{folder}");
    }
    // Byte-level models never lost it.
    reply(&[" there", " was"]).write_hf(&place.at("bytes"));
    place.import("bytes", &[]).ok();
    assert_eq!(place.generate("Once!"), " there was");
}

#[test]
fn text_behind_a_stray_byte_is_streamed_whole() {
    let place = Place::new();
    // Bytes of a vocabulary that never make a character, then one in two halves.
    let tokenizer = Tokenizer::sentence_piece(&[" after"], BEGIN);
    let id = |text: &str| tokenizer.id(text);
    let order = ["<0xE6>", "<0xE7>", "<0xBC>", "<0xA2>", " after", "</s>"].map(id);
    let mut chain = Chain(vec![(id("n"), order[0])]);
    chain
        .0
        .extend(order.windows(2).map(|pair| (pair[0], pair[1])));
    let end = id("</s>");
    Model::new(tokenizer, Llama::default(), chain)
        .config("eos_token_id", json!(end))
        .write_hf(&place.at("m"));
    place.import("m", &[]).ok();
    assert_eq!(place.generate("Once upon"), "\u{fffd}\u{7f22} after");
}

#[test]
fn a_prompt_is_not_closed_by_the_tokenizers_end_token() {
    let (good, bad) = ([" good", " answer"], [" broken", " after", " the", " end"]);
    let place = Place::new();
    let all = [&good[..], &bad[..]].concat();
    let tokenizer = Tokenizer::sentence_piece(
        &all,
        SentencePiece {
            bos: true,
            eos: true,
        },
    );
    let id = |text: &str| tokenizer.id(text);
    let end = id("</s>");
    let chain = Chain(vec![
        (id("!"), id(good[0])),
        (id(good[0]), id(good[1])),
        (id(good[1]), end),
        (end, id(bad[0])),
        (id(bad[0]), id(bad[1])),
        (id(bad[1]), id(bad[2])),
        (id(bad[2]), id(bad[3])),
    ]);
    Model::new(tokenizer, Llama::default(), chain)
        .config("eos_token_id", json!(end))
        .config("bos_token_id", json!(1))
        .setting("eos_token", json!("</s>"))
        .setting("add_eos_token", json!(true))
        .write_hf(&place.at("m"));
    place.import("m", &[]).ok();
    assert_eq!(place.generate("Hi!"), " good answer");
}

/// How many tokens the prompt of the first message has, as the log tells.
fn prompt_tokens(place: &Place, message: &str) -> usize {
    let args = [
        "chat",
        "--model",
        "m.1bit",
        "--temperature",
        "0",
        "--device",
        "cpu",
    ];
    let mut child = Command::new(env!("CARGO_BIN_EXE_onebit"))
        .args(args)
        .current_dir(place.dir())
        .env("RUST_LOG", "ternary_session=debug")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let typed = format!("{message}\n/exit\n");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(typed.as_bytes())
        .unwrap();
    let log = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    let (_, rest) = log
        .split_once("prompt: ")
        .unwrap_or_else(|| panic!("{log}"));
    rest.split_once(' ').unwrap().0.parse().unwrap()
}

#[test]
fn special_tokens_that_somebody_types_are_letters() {
    let place = Place::new();
    reply(&["Yes", " sir"]).write_hf(&place.at("m"));
    place.import("m", &[]).ok();
    // <|user|> … <|end|> <|assistant|>, and a token for every letter.
    for text in [
        "What does <|end|> mean?",
        "<|assistant|>",
        "<|endoftext|> and <|user|>x",
        "no marks at all",
    ] {
        assert_eq!(prompt_tokens(&place, text), 3 + text.len(), "{text}");
    }
}

#[test]
fn special_tokens_given_as_stop_texts_stop() {
    let pieces = ["Sure", " thing", "And then", " I say", " more"];
    let place = Place::new();
    let tokenizer = Tokenizer::byte_level(&pieces);
    let order = ["Sure", " thing", "<|user|>", "And then", " I say", " more"];
    let chain = Chain::walk(&tokenizer, &["<|assistant|>", "!"], &order, "<|end|>");
    Model::new(tokenizer, Llama::default(), chain)
        .template(CHATML)
        .write_hf(&place.at("m"));
    place.import("m", &[]).ok();
    let text = |stop: &[&str]| {
        let fixed = [
            "generate",
            "--model",
            "m.1bit",
            "--prompt",
            "Hi!",
            "--temperature",
            "0",
            "--json",
        ];
        let out = place.run(&[&fixed[..], stop].concat()).ok().json();
        out["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(text(&[]), "Sure thingAnd then I say more");
    assert_eq!(text(&["--stop", "<|user|>"]), "Sure thing");
    assert_eq!(text(&["--stop", "thing<|user|>And"]), "Sure ");
    assert_eq!(text(&["--stop", "I say"]), "Sure thingAnd then ");
    let empty = [
        "generate", "--model", "m.1bit", "--prompt", "Hi!", "--stop", "",
    ];
    place.run(&empty).fails(&["stop is an empty text"]);
    place
        .chat("Hello\n", &["--stop", ""])
        .fails(&["stop is an empty text"]);
    // In a conversation the mark of a role ends the reply unasked.
    let out = place.chat("Hello\n/exit\n", &[]).ok().stdout;
    assert!(
        out.contains("Sure thing\n") && !out.contains("And then"),
        "{out}"
    );
}

#[test]
fn a_words_mark_of_a_role_ends_a_reply() {
    let template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
    let pieces = [" Fine.", "\nuser: ", "and you?"];
    let place = Place::new();
    let tokenizer = Tokenizer::byte_level(&pieces);
    let chain = Chain::walk(&tokenizer, &[":"], &pieces, "<|end|>");
    Model::new(tokenizer, Llama::default(), chain)
        .template(template)
        .write_hf(&place.at("m"));
    place.import("m", &[]).ok();
    let out = place.chat("How are you\n/exit\n", &[]).ok().stdout;
    assert!(
        out.contains("Fine.\n") && !out.contains("and you?"),
        "{out}"
    );
}

/// A tokenizer of 300 tokens at tok.json.
fn tokenizer(place: &Place) {
    put(
        &place.at("words.txt"),
        "the cat sat on the mat and line after line\n".repeat(50),
    );
    place
        .run(&[
            "tokenize",
            "--data-dir",
            "words.txt",
            "--tokenizer",
            "tok.json",
            "--train-vocab",
            "300",
            "--output",
            "words.tokens",
        ])
        .ok();
}

fn tokenize(place: &Place, data: &str) -> crate::support::Output {
    place.run(&[
        "tokenize",
        "--data-dir",
        data,
        "--tokenizer",
        "tok.json",
        "--output",
        "out.tokens",
    ])
}

/// The ids of a text, as they are in a .tokens file.
fn ids(place: &Place, data: &str) -> Vec<u8> {
    tokenize(place, data).ok();
    std::fs::read(place.at("out.tokens")).unwrap()[64..].to_vec()
}

#[test]
fn a_word_of_a_megabyte_takes_seconds() {
    let place = Place::new();
    let mut state = 1u32;
    let mut any = |letters: &str, n: usize| -> String {
        let letters: Vec<char> = letters.chars().collect();
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                letters[(state >> 16) as usize % letters.len()]
            })
            .collect()
    };
    let base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let han: String = ('\u{4e00}'..'\u{5800}').collect();
    for (name, text) in [
        ("genome", any("ACGT", 1_000_000)),
        ("base64", any(base64, 1_000_000)),
        ("han", any(&han, 333_333)),
        ("dashes", "-".repeat(1_000_000)),
        ("spaces", format!("{}x", " ".repeat(1_000_000))),
        ("newlines", format!("{}x", "\n".repeat(1_000_000))),
    ] {
        let file = format!("{name}.txt");
        put(&place.at(&file), text);
        let begun = std::time::Instant::now();
        place
            .run(&[
                "tokenize",
                "--data-dir",
                &file,
                "--tokenizer",
                "big.json",
                "--train-vocab",
                "1024",
                "--output",
                "big.tokens",
                "--force",
            ])
            .ok();
        // A guard against squares, which take ten minutes and more, not a measurement.
        let seconds = begun.elapsed().as_secs();
        println!("{name}: {seconds} s");
        assert!(seconds < 60, "{name}: {seconds} s");
    }
}

#[test]
fn texts_are_decoded_by_their_mark_or_refused_with_the_line() {
    let place = Place::new();
    tokenizer(&place);
    let text = "Grüße aus Köln – naïve café €5\r\n漢字 🦀\n".repeat(300);
    put(&place.at("plain.txt"), &text);
    let expected = ids(&place, "plain.txt");
    let units = |big: bool| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units
            .flat_map(|u| {
                if big {
                    u.to_be_bytes()
                } else {
                    u.to_le_bytes()
                }
            })
            .collect()
    };
    for (name, bytes) in [
        ("le.txt", units(false)),
        ("be.txt", units(true)),
        ("marked.txt", format!("\u{feff}{text}").into_bytes()),
    ] {
        put(&place.at(name), bytes);
        assert!(ids(&place, name) == expected, "{name}");
    }
    std::fs::remove_file(place.at("out.tokens")).unwrap();
    for (name, bytes, words) in [
        (
            "latin.txt",
            &b"one\ntwo caf\xe9\n"[..],
            ["latin.txt", "line 2", "iconv -f WINDOWS-1252"],
        ),
        (
            "sjis.txt",
            b"\x93\xfa\x96\x7b\x8c\xea\n",
            ["sjis.txt", "line 1", "iconv -f SHIFT_JIS"],
        ),
        ("cut.txt", b"\xff\xfea\0b", ["cut.txt", "line 1", "UTF-16"]),
        (
            "packed.txt",
            b"\x1f\x8b\x08\0\0\0",
            ["packed.txt", "gzip", "zcat packed.txt"],
        ),
        (
            "lfs.txt",
            b"version https://git-lfs.github.com/spec/v1\n",
            ["lfs.txt", "Git LFS pointer", "git lfs pull"],
        ),
    ] {
        put(&place.at(name), bytes);
        tokenize(&place, name).fails(&words);
        assert!(!place.at("out.tokens").exists(), "{name} left something");
    }
    // What is typed has no name to convert it under.
    for command in [
        "tokenize --tokenizer tok.json --output out.tokens --data-dir -",
        "generate --model m.1bit --prompt-file -",
    ] {
        let args: Vec<&str> = command.split(' ').collect();
        if command.starts_with("generate") && !place.at("m.1bit").exists() {
            let model = crate::common::fixture().join("model.1bit");
            std::fs::copy(model, place.at("m.1bit")).unwrap();
        }
        let refused = typed(place.dir(), &args, b"one\ntwo caf\xe9\n");
        refused.fails(&[
            "standard input: line 2",
            "… | iconv -f WINDOWS-1252 -t UTF-8 | onebit …",
        ]);
    }
    put(
        &place.at("nuls.txt"),
        "some words\0\0 and more words\n".repeat(9),
    );
    let out = tokenize(&place, "nuls.txt").ok();
    assert!(
        out.stderr.contains("NUL bytes") && out.stderr.contains("line 1"),
        "{}",
        out.stderr
    );
}

#[test]
fn json_is_read_as_python_writes_it() {
    let place = Place::new();
    tokenizer(&place);
    let lines = |end: &str, tail: &str| -> String {
        (0..50)
            .map(|i| format!("{{\"text\": \"line {i}\"{tail}}}{end}"))
            .collect()
    };
    put(&place.at("plain.jsonl"), lines("\n", ""));
    let expected = ids(&place, "plain.jsonl");
    let array = format!("[{}]", lines(",\n", "").trim_end_matches(",\n"));
    for (name, text) in [
        ("crlf.jsonl", lines("\r\n", "")),
        ("UPPER.JSONL", lines("\n", "")),
        (
            "nan.jsonl",
            lines("\n", ", \"score\": NaN, \"low\": -Infinity, \"none\": null"),
        ),
        ("marked.jsonl", format!("\u{feff}{}", lines("\n", ""))),
        ("lines.ndjson", lines("\n\n", "")),
        ("array.json", array.clone()),
        ("array.jsonl", array),
        ("parts.jsonl", lines("\n", ", \"meta\": {\"messages\": []}")),
    ] {
        put(&place.at(name), text);
        assert!(ids(&place, name) == expected, "{name}");
    }
    // Half a surrogate pair becomes U+FFFD, and is told of.
    put(&place.at("half.jsonl"), "{\"text\": \"line 1 \\ud83d\"}\n");
    put(
        &place.at("whole.jsonl"),
        "{\"text\": \"line 1 \u{fffd}\"}\n",
    );
    let out = tokenize(&place, "half.jsonl").ok();
    assert!(
        out.stderr.contains("U+FFFD") && out.stderr.contains("line 1"),
        "{}",
        out.stderr
    );
    assert!(ids(&place, "half.jsonl") == ids(&place, "whole.jsonl"));
    // A conversation is written out as the chat template does.
    put(
        &place.at("talk.jsonl"),
        "{\"messages\": [{\"role\": \"user\", \"content\": \"line <|end|>\"}, {\"role\": \"assistant\", \"content\": \"cat\"}]}\n",
    );
    put(
        &place.at("share.jsonl"),
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"line\"}, {\"from\": \"gpt\", \"value\": \"cat\"}]}\n",
    );
    put(
        &place.at("same.jsonl"),
        "{\"text\": \"<|user|>line<|end|><|assistant|>cat<|end|>\"}\n",
    );
    assert!(ids(&place, "share.jsonl") == ids(&place, "same.jsonl"));
    let marks = |ids: &[u8]| {
        ids.chunks(2)
            .filter(|id| u16::from_le_bytes([id[0], id[1]]) == 4)
            .count()
    };
    assert_eq!(marks(&ids(&place, "talk.jsonl")), 2);
    std::fs::remove_file(place.at("out.tokens")).unwrap();
    for (name, text, line) in [
        ("a.jsonl", "{\"text\": \"x\"}\n{\"text\": 5}\n", "line 2"),
        (
            "b.jsonl",
            "{\"text\": \"x\"}\n\n\n{\"txt\": \"x\"}\n",
            "line 4",
        ),
        ("c.jsonl", "{\"text\": \"x\"}\n{\"text\": \"x\n", "line 2"),
        ("d.json", "[{\"text\": \"x\"},\n{\"a\": 1}]\n", "line 2"),
    ] {
        put(&place.at(name), text);
        tokenize(&place, name).fails(&[name, line]);
        assert!(!place.at("out.tokens").exists());
    }
}

#[test]
fn an_evaluation_takes_what_training_takes() {
    let place = Place::new();
    tokenizer(&place);
    put(&place.at("config.json"), crate::common::CONFIG);
    place
        .run(&[
            "train",
            "--config",
            "config.json",
            "--data-dir",
            "words.tokens",
            "--tokenizer",
            "tok.json",
            "--output-dir",
            "run",
            "--max-steps",
            "2",
            "--batch-size",
            "2",
            "--device",
            "cpu",
        ])
        .ok();
    let eval = |data: &str| {
        let args = [
            "eval", "--model", "run", "--device", "cpu", "--json", "--data", data,
        ];
        place.run(&args).ok().json()
    };
    let text = "the cat sat\non the mat\n".repeat(40);
    put(&place.at("folder/a.txt"), &text[..230]);
    put(&place.at("folder/b.TXT"), &text[230..]);
    put(&place.at("one.txt"), &text);
    let expected = eval("one.txt");
    assert_eq!(eval("folder"), expected);
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    put(
        &place.at("u.txt"),
        units.flat_map(u16::to_le_bytes).collect::<Vec<u8>>(),
    );
    assert_eq!(eval("u.txt"), expected);
    tokenize(&place, "one.txt").ok();
    assert_eq!(eval("out.tokens"), expected);
    put(
        &place.at("d.jsonl"),
        "{\"text\": \"the cat sat\"}\n{\"text\": \"on the mat\"}\n",
    );
    // Each document and its end.
    let documents = ids(&place, "d.jsonl").len() as u64 / 2;
    assert_eq!(eval("d.jsonl")["tokens"].as_u64(), Some(documents));
    let piped = typed(
        place.dir(),
        &[
            "eval", "--model", "run", "--device", "cpu", "--json", "--data", "-",
        ],
        text.as_bytes(),
    );
    assert_eq!(piped.ok().json(), expected);
    put(
        &place.at("other.json"),
        std::fs::read_to_string(place.at("tok.json")).unwrap() + "\n",
    );
    place
        .run(&[
            "tokenize",
            "--data-dir",
            "one.txt",
            "--tokenizer",
            "other.json",
            "--output",
            "other.tokens",
        ])
        .ok();
    place
        .run(&["eval", "--model", "run", "--data", "other.tokens"])
        .fails(&["other.tokens", "another tokenizer"]);
}

#[test]
fn texts_without_a_word_are_said_to_be_empty() {
    let place = Place::new();
    tokenizer(&place);
    std::fs::create_dir(place.at("none")).unwrap();
    put(&place.at("none/empty.txt"), "");
    put(&place.at("none/mark.txt"), "\u{feff}");
    put(&place.at("none/nothing.jsonl"), "\n");
    for data in [
        "none",
        "none/empty.txt",
        "none/mark.txt",
        "none/nothing.jsonl",
    ] {
        tokenize(&place, data).fails(&["no text", data]);
        assert!(!place.at("out.tokens").exists());
    }
}

#[test]
fn lines_of_json_may_end_as_on_old_systems() {
    let place = Place::new();
    tokenizer(&place);
    let lines = ["{\"text\": \"the cat\"}", "{\"text\": \"the mat\"}"];
    put(&place.at("unix.jsonl"), lines.join("\n"));
    put(&place.at("mac.jsonl"), lines.join("\r"));
    assert_eq!(ids(&place, "mac.jsonl"), ids(&place, "unix.jsonl"));
}

#[test]
fn turns_hold_words_and_say_what_is_left_out() {
    let place = Place::new();
    tokenizer(&place);
    put(&place.at("chat.jinja"), CHATML);
    let talk = |role: &str, more: serde_json::Value| {
        let mut reply = json!({"role": role, "content": null});
        if !more.is_null() {
            reply["tool_calls"] = more;
        }
        put(
            &place.at("talk.jsonl"),
            json!({"messages": [{"role": "user", "content": "the cat"}, reply]}).to_string(),
        );
        line(
            place.dir(),
            "tokenize --data-dir talk.jsonl --tokenizer tok.json --chat-template chat.jinja --output out.tokens",
        )
    };
    let call = json!([{"id": "1", "function": {"name": "look", "arguments": "{}"}}]);
    let out = talk("assistant", call).ok();
    assert!(!out.stderr.contains("warning"), "{}", out.stderr);
    for none in [json!(null), json!([])] {
        let out = talk("assistant", none).ok();
        let said = "1 reply without a text or a call";
        assert!(out.stderr.contains(said), "{}", out.stderr);
    }
    talk("assistant", json!([{"id": "1"}])).fails(&["line 1", "message 2", "has no name"]);
    for name in ["ipython", "Assistant", "developer", "observation"] {
        talk(name, json!(null)).ok();
    }
    for name in ["asistant", "bob", "観客"] {
        talk(name, json!(null)).fails(&["talk.jsonl", "line 1", "message 2", name, "expected"]);
    }
    // A role stands among the marks of its turn, where special tokens would be tokens.
    talk("<|im_end|>", json!(null)).fails(&["line 1", "role", "<|im_end|>"]);
    talk("[INST]", json!(null)).fails(&["line 1", "role", "[INST]"]);
}

#[test]
fn what_is_left_out_of_a_folder_is_told_and_tables_are_refused() {
    let place = Place::new();
    tokenizer(&place);
    std::fs::create_dir(place.at("mixed")).unwrap();
    put(&place.at("mixed/README.md"), "the cat sat on the mat");
    put(&place.at("mixed/table.csv"), "text\nthe cat\n");
    put(&place.at("mixed/ok.jsonl.gz"), "packed");
    put(&place.at("mixed/config.json"), "{}");
    let out = tokenize(&place, "mixed").ok();
    let said = "3 of 4 files are left out: config.json, ok.jsonl.gz, table.csv; read are .txt";
    assert_eq!(out.stderr.matches(said).count(), 1, "{}", out.stderr);
    assert!(
        out.stderr.contains("unpack compressed files first"),
        "{}",
        out.stderr
    );
    std::fs::remove_file(place.at("mixed/README.md")).unwrap();
    tokenize(&place, "mixed").fails(&["no text files but config.json, ok.jsonl.gz", "expected"]);
    tokenize(&place, "mixed/table.csv").fails(&["table.csv", "is a table", "rename it to .txt"]);
}

#[test]
fn json_is_known_through_a_pipe_and_inside_an_object() {
    let place = Place::new();
    tokenizer(&place);
    let talk = r#"{"prompt": "the cat", "completion": "sat on"}"#;
    put(&place.at("two.jsonl"), format!("{talk}\n{talk}\n"));
    let expected = ids(&place, "two.jsonl");
    let piped = |text: &str| {
        let args = "tokenize --data-dir - --tokenizer tok.json --output piped.tokens";
        let args: Vec<&str> = args.split(' ').collect();
        typed(place.dir(), &args, text.as_bytes()).ok();
        std::fs::read(place.at("piped.tokens")).unwrap()[64..].to_vec()
    };
    let long = format!(r#"{{"id": "{}", {}"#, "x".repeat(5000), &talk[1..]);
    let spread = talk.replace(", ", ",\n ");
    for text in [
        format!("[{talk},\n{talk}]"),
        format!("{long}\n{long}\n"),
        format!("{spread}\n{spread}\n"),
        format!("{{\"data\": [{talk}, {talk}]}}"),
    ] {
        assert_eq!(piped(&text), expected, "{text:.100}");
    }
    for (name, text) in [
        (
            "spread.jsonl",
            format!("{{\n{}\n{{\n{}\n", &talk[1..], &talk[1..]),
        ),
        (
            "object.json",
            format!("{{\"version\": 1, \"names\": [\"a\"], \"data\": [{talk}, {talk}], \"n\": 2}}"),
        ),
    ] {
        put(&place.at(name), text);
        assert_eq!(ids(&place, name), expected, "{name}");
    }
    put(
        &place.at("parts.json"),
        format!("{{\"train\": [{talk}], \"test\": [{talk}]}}"),
    );
    tokenize(&place, "parts.json").fails(&["parts.json", "several lists: train, test", "jq"]);
    put(
        &place.at("object.json"),
        "{\"n\": 1,\n\"data\": [\n{\"content\": \"a\", \"id\": 1}]}",
    );
    tokenize(&place, "object.json")
        .fails(&["object.json: line 3: an object with content, id; expected"]);
}

#[test]
fn a_data_sets_card_is_not_learnt_and_what_is_held_back_is_told() {
    let place = Place::new();
    tokenizer(&place);
    std::fs::create_dir_all(place.at("set/data")).unwrap();
    let talk = "{\"prompt\": \"the cat\", \"completion\": \"sat on\"}\n";
    put(&place.at("set/README.md"), "# This tells of the cat");
    put(&place.at("set/LICENSE.txt"), "the cat may sit on the mat");
    put(&place.at("set/data/train-00000-of-00001.jsonl"), talk);
    put(&place.at("set/state.arrow"), "no text");
    let out = tokenize(&place, "set").ok();
    for said in [
        "3 of 4 files are left out: LICENSE.txt, README.md, state.arrow",
        "make .parquet of Arrow tables, and README and LICENSE tell of the data",
    ] {
        assert!(out.stderr.contains(said), "{said}: {}", out.stderr);
    }
    assert!(!out.stderr.contains("held-back"), "{}", out.stderr);
    put(&place.at("set/data/test-00000-of-00001.jsonl"), talk);
    let out = tokenize(&place, "set").ok();
    let said = "held-back data: data/test-00000-of-00001.jsonl";
    assert!(out.stderr.contains(said), "{}", out.stderr);
    tokenize(&place, "set/state.arrow").fails(&["an Arrow table", "to_parquet"]);
}
