//! The command line as people use it: pipes, odd names, wrong flags, signals.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::{CONFIG, line, sentences};
use crate::support::{Place, put, reply, typed};

/// A folder with a small model m.1bit that answers "Yes sir".
fn model() -> Place {
    let place = Place::new();
    reply(&["Yes", " sir"]).write_hf(&place.at("m"));
    place.import("m", &[]).ok();
    place
}

/// Run a command whose standard error is closed after its first line; whether it ended well.
fn with_closed_error(place: &Place, args: &[&str]) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_onebit"))
        .args(args)
        .current_dir(place.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    child.wait().unwrap().success()
}

#[test]
fn standard_error_that_closes_ends_no_work() {
    let place = Place::new();
    for i in 0..300 {
        put(&place.at(&format!("texts/{i:03}.txt")), "hello world\n");
    }
    let tokenize = [
        "tokenize",
        "--data-dir",
        "texts",
        "--tokenizer",
        "t.json",
        "--train-vocab",
        "261",
        "--out-dir",
        "tokens",
    ];
    assert!(with_closed_error(&place, &tokenize));
    assert_eq!(std::fs::read_dir(place.at("tokens")).unwrap().count(), 300);
    put(&place.at("c.json"), CONFIG);
    put(&place.at("long.txt"), sentences(20_000, 1));
    let train = [
        "train",
        "--config",
        "c.json",
        "--data-dir",
        "long.txt",
        "--tokenizer",
        "t.json",
        "--output-dir",
        "run",
        "--max-steps",
        "6",
        "--batch-size",
        "1",
        "--log-every",
        "1",
        "--device",
        "cpu",
    ];
    assert!(with_closed_error(&place, &train));
    assert!(place.at("run/step-0000006").is_dir());
}

#[test]
fn texts_come_through_pipes_and_dashes() {
    let place = Place::new();
    let text = sentences(5000, 2);
    put(&place.at("a.txt"), &text);
    let made = "tokenize --data-dir a.txt --tokenizer t.json --train-vocab 270 --output a.tokens";
    line(place.dir(), made).ok();
    let bytes = |name: &str| std::fs::read(place.at(name)).unwrap();
    let piped = [
        "tokenize",
        "--data-dir",
        "-",
        "--tokenizer",
        "t.json",
        "--output",
        "b.tokens",
    ];
    typed(place.dir(), &piped, text.as_bytes()).ok();
    assert_eq!(bytes("b.tokens"), bytes("a.tokens"));
    // Learning a tokenizer reads the text twice; a pipe gives it once.
    let learned = [
        "tokenize",
        "--data-dir",
        "-",
        "--tokenizer",
        "u.json",
        "--train-vocab",
        "270",
        "--output",
        "c.tokens",
    ];
    typed(place.dir(), &learned, text.as_bytes()).ok();
    assert_eq!(bytes("u.json"), bytes("t.json"));
    assert_eq!(bytes("c.tokens"), bytes("a.tokens"));
    // JSON lines are known by their contents.
    let json = format!("{{\"text\": {}}}\n", Value::from(text.as_str()));
    typed(place.dir(), &piped, json.as_bytes()).ok();
    assert_eq!(bytes("b.tokens").len(), bytes("a.tokens").len() + 2);
    // A prompt, too.
    reply(&["Yes", " sir"]).write_hf(&place.at("m"));
    place.import("m", &[]).ok();
    let prompt = [
        "generate",
        "--model",
        "m.1bit",
        "--prompt-file",
        "-",
        "--temperature",
        "0",
        "--json",
    ];
    let out = typed(place.dir(), &prompt, b"Hi!").ok().json();
    assert_eq!(out["text"], "Yes sir");
}

#[cfg(unix)]
#[test]
fn process_substitution_is_read_once() {
    let place = Place::new();
    put(&place.at("a.txt"), sentences(5000, 2));
    let command = "'ONEBIT' tokenize --data-dir <(cat a.txt) --tokenizer t.json --train-vocab 270 --output a.tokens"
        .replace("ONEBIT", env!("CARGO_BIN_EXE_onebit"));
    let out = Command::new("bash")
        .args(["-c", &command])
        .current_dir(place.dir())
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    assert!(place.at("a.tokens").is_file());
}

#[cfg(target_os = "linux")]
#[test]
fn names_need_not_be_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    for name in [
        &b"caf\xe9"[..],
        "模型".as_bytes(),
        b"two\nlines",
        b"ein Ordner",
    ] {
        let folder = place.dir().join(OsStr::from_bytes(name));
        reply(&["Yes", " sir"]).write_hf(&folder);
        let output = place
            .dir()
            .join(OsStr::from_bytes(&[name, b".1bit"].concat()));
        let run = |args: &[&OsStr]| {
            let out = Command::new(env!("CARGO_BIN_EXE_onebit"))
                .args(args)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            assert!(
                out.status.success(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
            serde_json::from_str::<Value>(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
        };
        let o = OsStr::new;
        let json = run(&[
            o("import"),
            o("--input"),
            folder.as_ref(),
            o("--output"),
            output.as_ref(),
            o("--json"),
        ]);
        assert_eq!(json["file"], output.to_string_lossy().into_owned());
        run(&[o("inspect"), output.as_ref(), o("--json")]);
        let text = place
            .dir()
            .join(OsStr::from_bytes(&[name, b".txt"].concat()));
        std::fs::write(&text, "Hi! ".repeat(20)).unwrap();
        run(&[
            o("eval"),
            o("--model"),
            output.as_ref(),
            o("--data"),
            text.as_ref(),
            o("--json"),
        ]);
        let exported = place
            .dir()
            .join(OsStr::from_bytes(&[name, b".gguf"].concat()));
        let json = run(&[
            o("export"),
            o("--model"),
            output.as_ref(),
            o("--format"),
            o("gguf"),
            o("--output"),
            exported.as_ref(),
            o("--json"),
        ]);
        assert_eq!(json["file"], exported.to_string_lossy().into_owned());
    }
}

#[test]
fn what_llama_cpp_calls_minus_one_is_understood() {
    let place = model();
    let text = |more: &str| {
        let out = line(
            place.dir(),
            &format!("generate --model m.1bit --prompt Hi! --device cpu --json {more}"),
        );
        out.ok().json()
    };
    assert_eq!(
        text("--temperature 0 --max-tokens -1 --top-k -1 --seed -1")["text"],
        "Yes sir"
    );
    let random: Vec<Value> = (0..4)
        .map(|_| text("--temperature 90 --top-p 1 --seed -1")["text"].clone())
        .collect();
    assert!(random.iter().any(|t| *t != random[0]), "{random:?}");
    for wrong in ["--max-tokens -2", "--top-k -7", "--seed -3", "--seed x"] {
        line(
            place.dir(),
            &format!("generate --model m.1bit --prompt x {wrong}"),
        )
        .fails(&[wrong.split_once(' ').unwrap().0]);
    }
    // The figures have one spelling, and no digits that an f32 has not.
    let out = text("--temperature 0");
    for (key, _) in out["stats"].as_object().unwrap() {
        assert!(!key.contains(char::is_uppercase), "{key}");
    }
    let config = line(place.dir(), "inspect m.1bit --json").ok();
    assert!(!config.stdout.contains("999999"), "{}", config.stdout);
}

#[test]
fn flags_are_checked_before_a_model_is_loaded() {
    let place = model();
    for wrong in ["--temperature -1", "--top-p 2", "--repetition-penalty 0"] {
        let out = line(
            place.dir(),
            &format!("generate --model m.1bit --prompt x --device cpu {wrong}"),
        )
        .fails(&[]);
        assert!(!out.stderr.contains("loaded in"), "{}", out.stderr);
    }
    let out = line(
        place.dir(),
        "generate --model m.1bit --prompt Hi! --threads 5000 --device cpu",
    )
    .ok();
    assert_eq!(
        out.stderr.matches("--threads 5000").count(),
        1,
        "{}",
        out.stderr
    );
    let out = line(place.dir(), "serve --model nowhere.1bit --threads 5000");
    let out = out.fails(&["nowhere.1bit does not exist"]);
    assert_eq!(
        out.stderr.matches("--threads 5000").count(),
        1,
        "{}",
        out.stderr
    );
    for flags in [
        "import --input m --output m",
        "import --input m --output .",
        "export --model m.1bit --output m.1bit --format gguf",
        "logits --model m.1bit --ids 1 --output m.1bit",
        "logits --model m.1bit --ids 1 --output m",
    ] {
        let out = line(place.dir(), flags).fails(&["--output"]);
        assert!(!out.stderr.contains("loaded in"), "{}", out.stderr);
    }
    for flag in ["--context", "--threads", "--max-tokens"] {
        line(
            place.dir(),
            &format!("generate --model m.1bit --prompt x {flag} -7"),
        )
        .fails(&["invalid value '-7'", flag]);
    }
    let env = [("ONEBIT_SIMD", "avx9000"), ("X", "")];
    crate::common::run_with(place.dir(), &["inspect", "m.1bit"], env)
        .fails(&["ONEBIT_SIMD=avx9000", "portable"]);
    let env = [("ONEBIT_SIMD", "Portable"), ("X", "")];
    crate::common::run_with(place.dir(), &["inspect", "m.1bit"], env).ok();
}

#[test]
fn a_chat_takes_blocks_and_survives_bad_lines() {
    let place = model();
    let replies = |typed: &[u8]| {
        let args = [
            "chat",
            "--model",
            "m.1bit",
            "--temperature",
            "0",
            "--device",
            "cpu",
        ];
        let out = crate::support::typed(place.dir(), &args, typed).ok();
        (out.stdout.matches("Yes sir").count(), out)
    };
    let (count, _) = replies(b"\"\"\"\none\n\ntwo\nthree\n\"\"\"\n/exit\n");
    assert_eq!(count, 1);
    let (count, out) = replies(b"Hi\ncaf\xe9\nStill there?\n");
    assert_eq!(count, 2);
    assert!(out.stderr.contains("UTF-8"), "{}", out.stderr);
    let (count, out) = replies(b"/rest\n/help\n/usr/bin is a folder\n/exit\n");
    assert_eq!(count, 1);
    assert!(
        out.stderr.contains("/rest") && out.stdout.contains("/system"),
        "{out:?}"
    );
    // An unfinished block is a message all the same.
    assert_eq!(replies(b"\"\"\"\nHi there\n").0, 1);
}

#[test]
fn two_imports_to_one_name_leave_one_whole_file() {
    let place = Place::new();
    reply(&["Yes", " sir"]).write_hf(&place.at("a"));
    reply(&["No", " way"]).write_hf(&place.at("b"));
    for _ in 0..4 {
        let start = |input: &str| {
            let args = ["import", "--input", input, "--output", "m.1bit"];
            crate::common::start(place.dir(), &args)
        };
        let both = [start("a"), start("b")];
        for child in both {
            crate::common::end(child).ok();
        }
        let text = place.generate("Hi!");
        assert!(["Yes sir", "No way"].contains(&text.as_str()), "{text}");
        let left: Vec<_> = std::fs::read_dir(place.dir())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .filter(|n| n.to_string_lossy().contains(".part"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_failed_download_is_one_sentence_and_leaves_nothing() {
    let place = Place::new();
    // Nothing listens there.
    let out = line(
        place.dir(),
        "download some/set --file a.txt --endpoint http://127.0.0.1:9",
    )
    .fails(&["cannot reach 127.0.0.1"]);
    assert_eq!(out.stderr.trim().lines().count(), 1, "{}", out.stderr);
    line(place.dir(), "import --input hf:some/model --output m.1bit --endpoint http://127.0.0.1:9 --download-dir hub/x")
        .fails(&["cannot reach 127.0.0.1"]);
    assert_eq!(std::fs::read_dir(place.dir()).unwrap().count(), 0);
}

#[test]
fn the_log_says_something_on_the_cpu() {
    let place = model();
    let args = [
        "generate", "--model", "m.1bit", "--prompt", "Hi!", "--device", "cpu",
    ];
    let out = crate::common::run_with(place.dir(), &args, [("RUST_LOG", "debug"), ("X", "")]).ok();
    for word in ["device: cpu", "tensors", "prompt: ", "reply: "] {
        assert!(out.stderr.contains(word), "{word}: {}", out.stderr);
    }
}

/// The commands that `--help` lists.
fn commands(place: &Place) -> Vec<String> {
    let help = line(place.dir(), "--help").ok().stdout;
    let (_, list) = help.split_once("Commands:").unwrap();
    let entries = list.lines().skip(1).take_while(|l| !l.trim().is_empty());
    // What is indented further goes on with the line above.
    let names = entries.filter(|l| l.starts_with("  ") && !l.starts_with("   "));
    let names = names
        .filter_map(|l| l.split_whitespace().next())
        .filter(|name| *name != "help");
    names.map(str::to_owned).collect()
}

#[test]
fn every_flag_has_a_help_text() {
    let place = Place::new();
    let commands = commands(&place);
    assert!(commands.len() > 12, "{commands:?}");
    for command in commands {
        let help = place.run(&[&command, "--help"]).ok().stdout;
        let (_, options) = help.split_once("Options:").unwrap();
        let options = options.split("\nExample").next().unwrap();
        let lines: Vec<&str> = options.lines().collect();
        for (i, text) in lines.iter().enumerate() {
            let flag = text.trim_start();
            if flag.starts_with("--") || flag.starts_with("-h, ") {
                // The text stands on the same line or on the next one.
                let beside = flag
                    .split_once("  ")
                    .is_some_and(|(_, text)| !text.trim().is_empty());
                let below = lines
                    .get(i + 1)
                    .is_some_and(|l| !l.trim().is_empty() && !l.trim().starts_with('['));
                assert!(beside || below, "{command} {flag} has no help text");
            }
        }
    }
}

#[test]
fn examples_in_help_do_not_wrap() {
    let place = Place::new();
    for command in commands(&place) {
        let help = place.run(&[&command, "--help"]).ok().stdout;
        let (_, examples) = help
            .split_once("\nExample")
            .unwrap_or_else(|| panic!("{command} has no example"));
        let mut goes_on = false;
        for text in examples
            .lines()
            .skip(1)
            .take_while(|l| !l.trim().is_empty())
        {
            assert!(text.chars().count() <= 80, "{text}");
            // A command, or the rest of the one above.
            assert!(
                goes_on || text.contains("onebit "),
                "{command} wraps: {text}"
            );
            goes_on = text.ends_with('\\');
        }
    }
}

#[test]
fn looking_for_a_gpu_prints_nothing_of_its_own() {
    let place = model();
    let out = Command::new(env!("CARGO_BIN_EXE_onebit"))
        .args([
            "generate",
            "--model",
            "m.1bit",
            "--prompt",
            "Hi!",
            "--temperature",
            "0",
        ])
        .current_dir(place.dir())
        .env_remove("XDG_RUNTIME_DIR")
        .output()
        .unwrap();
    let (text, said) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert_eq!(text, "Yes sir\n");
    assert!(
        !said.contains("XDG_RUNTIME_DIR") && said.lines().count() == 2,
        "{said}"
    );
}

#[test]
fn files_of_another_kind_are_called_by_their_kind() {
    let place = model();
    put(&place.at("text.txt"), sentences(5000, 2));
    line(
        place.dir(),
        "tokenize --data-dir text.txt --tokenizer t.json --train-vocab 261 --output x.tokens",
    )
    .ok();
    put(
        &place.at("lfs.json"),
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    );
    put(&place.at("page.json"), "<!doctype html><html></html>");
    put(&place.at("c.json"), CONFIG);
    for (command, words) in [
        (
            "tokenize --data-dir text.txt --tokenizer m.1bit --output y.tokens",
            ["m.1bit", ".1bit model"],
        ),
        (
            "tokenize --data-dir m.1bit --tokenizer t.json --output y.tokens",
            ["m.1bit", ".1bit model"],
        ),
        (
            "tokenize --data-dir text.txt --tokenizer lfs.json --output y.tokens",
            ["lfs.json", "git lfs pull"],
        ),
        (
            "train --config page.json --data-dir x.tokens --tokenizer t.json --output-dir r",
            ["page.json", "HTML page"],
        ),
        (
            "train --config x.tokens --data-dir x.tokens --tokenizer t.json --output-dir r",
            ["x.tokens", ".tokens file"],
        ),
        (
            "generate --model x.tokens --prompt a",
            ["x.tokens", ".tokens file"],
        ),
        (
            "generate --model m/model.safetensors --prompt a",
            ["model.safetensors", "onebit import"],
        ),
        ("eval --model m.1bit --data m.1bit", ["m.1bit", "no text"]),
        ("inspect t.json", ["t.json", "not a .1bit file"]),
    ] {
        line(place.dir(), command).fails(&words);
    }
    // What follows the end is called that.
    let mut bytes = std::fs::read(place.at("m.1bit")).unwrap();
    bytes.extend(b"more");
    put(&place.at("long.1bit"), bytes);
    line(place.dir(), "inspect long.1bit").fails(&["4 B follow"]);
    let mut bytes = std::fs::read(place.at("x.tokens")).unwrap();
    bytes.extend(b"xyz");
    put(&place.at("long.tokens"), bytes);
    line(place.dir(), "inspect long.tokens").fails(&["3 B follow"]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_command_leaves_nothing_half() {
    let place = model();
    let pipe = place.at("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    put(&place.at("text.txt"), sentences(5000, 2));
    line(
        place.dir(),
        "tokenize --data-dir text.txt --tokenizer t.json --train-vocab 261 --output x.tokens",
    )
    .ok();
    let before = std::fs::read_dir(place.dir()).unwrap().count();
    // It has begun to write and waits for more text.
    let big = place.at("big.txt");
    put(&big, sentences(30_000_000, 3));
    let args = [
        "tokenize",
        "--data-dir",
        "big.txt",
        "--tokenizer",
        "t.json",
        "--output",
        "y.tokens",
    ];
    let child = crate::common::start(place.dir(), &args);
    let part = || {
        let names = std::fs::read_dir(place.dir()).unwrap();
        names
            .filter(|e| {
                e.as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .contains(".part")
            })
            .count()
    };
    let begun = std::time::Instant::now();
    while part() == 0 && begun.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    let out = crate::common::end(child);
    if out.code == Some(0) {
        println!("SKIPPED: the work was done before the signal came");
        return;
    }
    assert_eq!(out.code, Some(143));
    assert_eq!(part(), 0);
    assert_eq!(std::fs::read_dir(place.dir()).unwrap().count(), before + 1);
}

#[cfg(unix)]
#[test]
fn outputs_that_are_no_files_get_the_bytes() {
    let place = Place::new();
    put(&place.at("a.txt"), sentences(5000, 2));
    line(
        place.dir(),
        "tokenize --data-dir a.txt --tokenizer t.json --train-vocab 270 --output a.tokens",
    )
    .ok();
    let expected = std::fs::read(place.at("a.tokens")).unwrap();
    // A pipe stays one, and a link leads where it led.
    let pipe = place.at("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe).unwrap()
    });
    line(
        place.dir(),
        "tokenize --data-dir a.txt --tokenizer t.json --output pipe",
    )
    .ok();
    assert!(!pipe.is_file());
    assert_eq!(reader.join().unwrap(), expected);
    put(&place.at("real/b.tokens"), "old");
    std::os::unix::fs::symlink("real/b.tokens", place.at("link")).unwrap();
    line(
        place.dir(),
        "tokenize --data-dir a.txt --tokenizer t.json --output link",
    )
    .ok();
    assert!(place.at("link").is_symlink());
    assert_eq!(std::fs::read(place.at("real/b.tokens")).unwrap(), expected);
    line(
        place.dir(),
        "tokenize --data-dir a.txt --tokenizer t.json --output -",
    )
    .fails(&["--output -"]);
}

#[test]
fn a_chat_takes_any_first_letter() {
    let place = model();
    for text in ["été", "Привет", "日本", "😀", "\u{feff}Hi", "/", "/é", "//"] {
        let typed = format!("{text}\n/exit\n");
        place.chat(&typed, &[]).ok();
    }
}

#[test]
fn a_long_document_of_json_takes_no_more_than_a_text() {
    let place = Place::new();
    let text = sentences(3_000_000, 2);
    put(&place.at("a.txt"), &text);
    put(
        &place.at("a.jsonl"),
        Value::from(
            [("text", text)]
                .into_iter()
                .map(|(k, v)| (k.to_owned(), Value::from(v)))
                .collect::<serde_json::Map<_, _>>(),
        )
        .to_string(),
    );
    line(
        place.dir(),
        "tokenize --data-dir a.txt --tokenizer t.json --train-vocab 270 --output a.tokens",
    )
    .ok();
    line(
        place.dir(),
        "tokenize --data-dir a.jsonl --tokenizer t.json --output b.tokens",
    )
    .ok();
    let ids = |name: &str| std::fs::read(place.at(name)).unwrap()[64..].to_vec();
    let (text, document) = (ids("a.tokens"), ids("b.tokens"));
    // The document is closed.
    assert!(document[..text.len()] == text[..] && document.len() == text.len() + 2);
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_a_failure() {
    for args in [&["--help"][..], &["generate", "--help"], &["--version"]] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let out = Command::new(env!("CARGO_BIN_EXE_onebit"))
            .args(args)
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(1), "{args:?}");
        assert!(!out.stderr.is_empty());
    }
}

#[test]
fn commands_of_a_chat_take_any_case_and_say_what_they_do_not_take() {
    let place = model();
    let out = place.chat("/exit now\n/EXIT\nHi!\n", &[]).ok();
    assert!(out.stderr.contains("/exit takes nothing"), "{}", out.stderr);
    assert!(!out.stdout.contains("Yes"), "{}", out.stdout);
}

#[test]
fn a_pattern_of_the_shell_is_told_to_be_several_files() {
    let place = Place::new();
    put(&place.at("a.txt"), "a");
    put(&place.at("b.txt"), "b");
    let wrong = "tokenize --data-dir a.txt b.txt --tokenizer t.json --output c.tokens";
    line(place.dir(), wrong).fails(&[
        "unexpected argument 'b.txt'",
        "name the folder that holds them",
    ]);
    let other = wrong.replace("b.txt", "none.txt");
    let out = line(place.dir(), &other).fails(&["unexpected argument 'none.txt'"]);
    assert!(!out.stderr.contains("folder"), "{}", out.stderr);
}
