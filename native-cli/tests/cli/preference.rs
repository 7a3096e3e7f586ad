//! `onebit finetune --preference`, and pairs in `onebit data`.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::{
    Output, copy_dir, fixture, line, metrics, newest, sentences, state, workplace,
};

/// Pairs whose chosen answers are in capitals, in the layouts that there are, by turns.
fn pairs(seeds: std::ops::Range<u64>) -> String {
    let pairs = seeds.map(|i| {
        let some = |seed: u64| -> String { sentences(40, seed).chars().take(16).collect() };
        let (asked, said) = (some(i), some(i + 5000));
        let say = |role: &str, content: &str| json!({"role": role, "content": content});
        let (good, bad) = (said.to_uppercase(), said);
        let (user, yes, no) = (
            say("user", &asked),
            say("assistant", &good),
            say("assistant", &bad),
        );
        let pair = match i % 4 {
            0 => json!({"prompt": asked, "chosen": good, "rejected": bad}),
            1 => json!({"prompt": [user], "chosen": [yes], "rejected": [no]}),
            2 => json!({"chosen": [user, yes], "rejected": [user, no]}),
            _ => json!({
                "input": {"messages": [user]}, "preferred_output": [yes], "non_preferred_output": [no]
            }),
        };
        format!("{pair}\n")
    });
    pairs.collect()
}

fn place() -> tempfile::TempDir {
    let dir = workplace();
    let d = dir.path();
    std::fs::copy(fixture().join("model.1bit"), d.join("model.1bit")).unwrap();
    std::fs::write(d.join("pairs.jsonl"), pairs(0..200)).unwrap();
    std::fs::write(d.join("held.jsonl"), pairs(1000..1040)).unwrap();
    dir
}

fn prefer(d: &Path, data: &str, out: &str, flags: &str) -> Output {
    line(
        d,
        &format!(
            "finetune --model model.1bit --data-dir {data} --output-dir {out} --device cpu \
             --chat-template chat.jinja --preference dpo --log-every 1 --set eval_batches=10 {flags}"
        ),
    )
}

fn figure(line: &Value, key: &str) -> f64 {
    line[key]
        .as_f64()
        .unwrap_or_else(|| panic!("no {key} in {line}"))
}

#[test]
fn a_preferred_style_is_learnt_and_told_apart_on_pairs_held_back() {
    let dir = place();
    let d = dir.path();
    let flags = "--val-data-dir held.jsonl --max-steps 60 --lr 2e-3";
    let said = prefer(d, "pairs.jsonl", "out", flags).ok().stderr;
    assert!(
        said.contains("margin") && said.contains("accuracy"),
        "{said}"
    );
    let all = metrics(&d.join("out"));
    // Beside its reference the model has learnt nothing yet.
    assert!((figure(&all[0], "train_loss") - std::f64::consts::LN_2).abs() < 1e-6);
    assert!(figure(&all[0], "reward_margin").abs() < 1e-6);
    let last = all.last().unwrap();
    assert!(figure(last, "val_loss") < 0.5, "{last}");
    assert!(figure(last, "val_reward_margin") > 0.2, "{last}");
    assert!(figure(last, "val_reward_accuracy") > 0.9, "{last}");
    // What was learnt is an adapter, and what it does to texts shows.
    let loss = |more: &str| {
        std::fs::write(d.join("loud.txt"), sentences(3000, 8).to_uppercase()).unwrap();
        let command = format!("eval --model model.1bit --data loud.txt --device cpu --json {more}");
        figure(&line(d, &command).ok().json(), "loss")
    };
    assert!(loss("--adapter out") < loss(""));
}

#[test]
fn preferences_resume_bit_for_bit_whatever_the_threads() {
    let dir = place();
    let d = dir.path();
    let flags = "--val-data-dir held.jsonl --max-steps 8 --save-every 4 --batch-size 4 --accumulation-steps 2 --set dropout=0.1";
    prefer(
        d,
        "pairs.jsonl",
        "straight",
        &format!("{flags} --threads 1"),
    )
    .ok();
    copy_dir(
        &d.join("straight/step-0000004"),
        &d.join("resumed/step-0000004"),
    );
    let resume = format!("{flags} --threads 2 --resume");
    prefer(d, "pairs.jsonl", "resumed", &resume).ok();
    for file in ["adapter_model.safetensors", "optimizer.safetensors"] {
        let bytes = |run: &str| std::fs::read(newest(&d.join(run)).join(file)).unwrap();
        assert!(bytes("straight") == bytes("resumed"), "{file} differs");
    }
    let train = &state(&newest(&d.join("straight")))["train"];
    assert_eq!(
        (&train["preference"], &train["preference_beta"]),
        (&json!("dpo"), &json!(0.1))
    );
    // A smaller β lets answers move farther.
    prefer(d, "pairs.jsonl", "other", &format!("{flags} --beta 0.5")).ok();
    assert_ne!(
        metrics(&d.join("other")).last().unwrap()["train_loss"],
        metrics(&d.join("straight")).last().unwrap()["train_loss"]
    );
}

#[test]
fn pairs_are_shown_with_what_is_learnt_of_each_side() {
    let dir = place();
    let d = dir.path();
    let pair = json!({
        "prompt": [
            {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "Say"}
        ],
        "chosen": "GOOD", "rejected": "bad",
    });
    std::fs::write(d.join("one.jsonl"), format!("{pair}\n")).unwrap();
    let command = "data one.jsonl --model model.1bit --chat-template chat.jinja";
    let found = line(d, &format!("{command} --json")).ok().json();
    assert_eq!(
        found["layouts"]["preference pairs (prompt, chosen, rejected)"],
        1
    );
    let example = &found["examples"][0];
    let learnt = |side: &str| -> String {
        let parts = example[side].as_array().unwrap().iter();
        let learnt = parts.filter(|part| part["learnt"] == true);
        learnt.map(|part| part["text"].as_str().unwrap()).collect()
    };
    let said = |side: &str| {
        let parts = example[side].as_array().unwrap().iter();
        let all: String = parts.map(|part| part["text"].as_str().unwrap()).collect();
        all.contains("Yes") && all.contains("Say")
    };
    assert!(learnt("chosen").starts_with("GOOD"), "{example}");
    assert!(learnt("rejected").starts_with("bad"), "{example}");
    assert!(!learnt("chosen").contains("Yes") && said("chosen") && said("rejected"));
    let text = line(d, command).ok().stdout;
    assert!(
        text.contains("Chosen:") && text.contains("Rejected:") && text.contains("⟦GOOD"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_preferred_is_refused() {
    let dir = place();
    let d = dir.path();
    let first = pairs(0..4);
    for (bad, words) in [
        (
            r#"{"prompt": "a", "chosen": "b"}"#,
            &["line 5", "without \"rejected\""][..],
        ),
        (
            r#"{"chosen": "b", "rejected": "c"}"#,
            &["line 5", "without \"prompt\""],
        ),
        (
            r#"{"prompt": "a", "chosen": "", "rejected": "c"}"#,
            &["line 5", "\"chosen\" is empty"],
        ),
        (
            r#"{"prompt": "a", "completion": "b"}"#,
            &["document 5", "prompt, completion"],
        ),
    ] {
        std::fs::write(d.join("bad.jsonl"), format!("{first}{bad}\n")).unwrap();
        let words = [&["bad.jsonl", "expected"][..], words].concat();
        prefer(d, "bad.jsonl", "out", "--max-steps 1").fails(&words);
    }
    let same = r#"{"prompt": "a", "chosen": "b", "rejected": "b"}"#;
    std::fs::write(d.join("same.jsonl"), format!("{first}{same}\n")).unwrap();
    let told = prefer(d, "same.jsonl", "same", "--max-steps 1").ok().stderr;
    assert!(
        told.contains("the same, left out") && told.contains("line 5"),
        "{told}"
    );
    for (flags, words) in [
        ("--mode full", &["preference needs lora"][..]),
        ("--batch-size 3", &["batch_size is 3", "even"]),
        ("--beta 0", &["preference_beta is 0"]),
        ("--streaming", &["--streaming", "preference"]),
        ("--teacher model.1bit", &["teacher", "reference"]),
        ("--set z_loss=0.1", &["z_loss"]),
        ("--set seq_len=8", &["8 tokens", "200 of 200"]),
    ] {
        prefer(d, "pairs.jsonl", "out", &format!("--max-steps 1 {flags}")).fails(words);
    }
    prefer(d, "tokens", "out", "--max-steps 1").fails(&["tokens", "pairs apart"]);
    // Pairs are no texts to learn.
    let plain = "finetune --model model.1bit --data-dir pairs.jsonl --output-dir out --chat-template chat.jinja";
    line(d, plain).fails(&["pairs.jsonl", "--preference dpo", "completion"]);
    let streamed = plain.replace("--output-dir out", "--output-dir streamed --streaming");
    line(d, &streamed).fails(&["--preference dpo"]);
    line(
        d,
        "tokenize --data-dir pairs.jsonl --tokenizer tok.json --output x.tokens",
    )
    .fails(&["pairs.jsonl", "--preference dpo"]);
    line(d, &format!("{plain} --beta 0.2")).fails(&["--preference"]);
    line(d, &format!("{plain} --preference ppo")).fails(&["ppo", "expected dpo"]);
    assert!(!d.join("out").exists());
}
