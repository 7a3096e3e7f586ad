//! `onebit train`: metrics, every flag, resuming, interruptions.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::common::{
    copy_dir, end, fixture, line, metrics, newest, start, state, steps, workplace,
};

const TRAIN: &str =
    "train --config config.json --data-dir tokens --tokenizer tok.json --device cpu --output-dir";

/// Train with `flags` into `dir/out`.
fn train(dir: &Path, out: &str, flags: &str) -> Vec<Value> {
    line(dir, &format!("{TRAIN} {out} {flags}")).ok();
    metrics(&dir.join(out))
}

fn column(lines: &[Value], key: &str) -> Vec<f64> {
    lines.iter().map(|l| l[key].as_f64().unwrap()).collect()
}

#[test]
fn metrics_say_how_training_went() {
    let lines = metrics(&fixture().join("run"));
    assert_eq!(column(&lines, "step"), [10., 20., 30., 40., 50., 60.]);
    for l in &lines {
        for key in ["train_loss", "learning_rate", "tokens_per_second"] {
            assert!(l[key].as_f64().is_some_and(|v| v > 0.0), "{key} in {l}");
        }
        let validated = l["step"].as_u64().unwrap().is_multiple_of(20);
        assert_eq!(l["val_loss"].is_f64(), validated, "{l}");
    }
    let loss = column(&lines, "train_loss");
    // The first ten steps begin at uniform guessing, ln 300 = 5.7.
    assert!(loss[0] < 6.0 && loss[5] < loss[0] - 1.0, "{loss:?}");
    let val = lines[5]["val_loss"].as_f64().unwrap();
    assert!((val - loss[5]).abs() < 0.5, "{val} against {loss:?}");
}

#[test]
fn the_learning_rate_follows_its_flags() {
    let dir = workplace();
    let lr = |out: &str, flags: &str| {
        let flags = format!("{flags} --batch-size 1 --log-every 1 --max-steps 6");
        column(&train(dir.path(), out, &flags), "learning_rate")
    };
    let close = |found: &[f64], want: &[f64]| {
        assert_eq!(found.len(), want.len());
        for (f, w) in found.iter().zip(want) {
            assert!((f - w).abs() < 1e-6 * w.abs(), "{found:?} {want:?}");
        }
    };
    close(
        &lr("a", "--lr 0.003 --lr-decay constant --lr-warmup-steps 0"),
        &[0.003; 6],
    );
    close(
        &lr("b", "--lr 0.004 --lr-decay constant --lr-warmup-steps 4"),
        &[0.001, 0.002, 0.003, 0.004, 0.004, 0.004],
    );
    // From the peak towards a tenth of it.
    let linear: Vec<f64> = (0..6).map(|i| 0.01 - 0.009 * f64::from(i) / 6.0).collect();
    close(
        &lr("c", "--lr 0.01 --lr-decay linear --lr-warmup-steps 0"),
        &linear,
    );
    let cosine: Vec<f64> = (0..6)
        .map(|i| 0.001 + 0.0045 * (1.0 + (std::f64::consts::PI * f64::from(i) / 6.0).cos()))
        .collect();
    close(
        &lr("d", "--lr 0.01 --lr-decay cosine --lr-warmup-steps 0"),
        &cosine,
    );
}

#[test]
fn steps_batches_and_folders_follow_their_flags() {
    let dir = workplace();
    let d = dir.path();
    // Two micro-batches of two are one batch of four: the same sequences, another order of
    // summation.
    let one = train(d, "one", "--max-steps 3 --batch-size 4 --log-every 1");
    let two = train(
        d,
        "two",
        "--max-steps 3 --batch-size 2 --accumulation-steps 2 --log-every 1",
    );
    for key in ["train_loss", "grad_norm"] {
        for (a, b) in column(&one, key).iter().zip(column(&two, key)) {
            assert!((a - b).abs() < 1e-3 * a.abs(), "{key}: {a} {b}");
        }
    }
    for (out, batch) in [("one", 4), ("two", 4)] {
        let s = state(&newest(&d.join(out)));
        assert_eq!(
            (s["step"].as_u64(), &s["tokens_seen"]),
            (Some(3), &Value::from(3 * batch * 32))
        );
    }
    // Three checkpoints are kept; the last step is always saved and always logged.
    let lines = train(
        d,
        "three",
        "--max-steps 9 --batch-size 1 --save-every 2 --log-every 4",
    );
    assert_eq!(column(&lines, "step"), [4., 8., 9.]);
    let names: Vec<String> = steps(&d.join("three"))
        .iter()
        .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, ["step-0000006", "step-0000008", "step-0000009"]);
    let s = state(&newest(&d.join("three")));
    assert_eq!(s["train"]["save_every"], 2);
    // The same seed gives the same losses, another seed others.
    let loss = |out: &str, seed: u32| {
        let flags = format!("--max-steps 2 --batch-size 2 --log-every 1 --seed {seed}");
        column(&train(d, out, &flags), "train_loss")
    };
    let first = loss("s7", 7);
    assert_eq!(first, loss("s7again", 7));
    assert_ne!(first, loss("s8", 8));
}

#[test]
fn threads_do_not_change_the_result() {
    let dir = workplace();
    let d = dir.path();
    let model = |out: &str, threads: usize| {
        train(d, out, &format!("--max-steps 4 --threads {threads}"));
        std::fs::read(newest(&d.join(out)).join("model.safetensors")).unwrap()
    };
    let one = model("t1", 1);
    assert!(one == model("t2", 2) && one == model("t3", 3));
}

#[test]
fn resuming_continues_bit_for_bit() {
    let dir = workplace();
    let d = dir.path();
    let flags = "--max-steps 12 --save-every 6 --log-every 1 --val-data-dir valid.txt";
    let straight = train(
        d,
        "straight",
        &format!("{flags} --chat-template chat.jinja"),
    );
    copy_dir(
        &d.join("straight/step-0000006"),
        &d.join("resumed/step-0000006"),
    );
    // Lines of steps that will be made again, and one cut short by a crash.
    let old = std::fs::read_to_string(d.join("straight/metrics.jsonl")).unwrap();
    let half = &old[..old.len() - 20];
    std::fs::write(d.join("resumed/metrics.jsonl"), half).unwrap();
    let resumed = train(d, "resumed", &format!("{flags} --resume"));
    // The chat template was given to the first run only.
    for file in [
        "model.safetensors",
        "optimizer.safetensors",
        "chat_template.jinja",
    ] {
        let bytes = |run: &str| std::fs::read(newest(&d.join(run)).join(file)).unwrap();
        assert!(bytes("straight") == bytes("resumed"), "{file} differs");
    }
    assert_eq!(straight.len(), resumed.len());
    for (a, b) in straight.iter().zip(&resumed) {
        for key in [
            "step",
            "train_loss",
            "learning_rate",
            "grad_norm",
            "val_loss",
        ] {
            assert_eq!(a[key], b[key], "{key} of {a} and {b}");
        }
    }
    // A run that is complete stays as it is, and says so.
    let again = line(d, &format!("{TRAIN} resumed {flags} --resume")).ok();
    assert!(
        again.stderr.contains("step 12")
            && !again.stderr.contains("NaN")
            && !again.stderr.contains("warning"),
        "{}",
        again.stderr
    );
    assert_eq!(metrics(&d.join("resumed")), resumed);
}

#[test]
fn an_existing_run_is_never_overwritten() {
    let dir = workplace();
    let d = dir.path();
    train(d, "out", "--max-steps 2 --batch-size 2 --log-every 1");
    let everything = |run: &Path| {
        let mut all = vec![std::fs::read(run.join("metrics.jsonl")).unwrap()];
        for file in std::fs::read_dir(newest(run)).unwrap() {
            all.push(std::fs::read(file.unwrap().path()).unwrap());
        }
        all
    };
    let before = everything(&d.join("out"));
    line(d, &format!("{TRAIN} out --max-steps 5")).fails(&["out/step-0000002", "--resume"]);
    assert!(before == everything(&d.join("out")));
    // Nor is it continued as something else.
    let other = crate::common::CONFIG.replace("\"hidden_size\": 48", "\"hidden_size\": 32");
    std::fs::write(d.join("other.json"), other).unwrap();
    line(
        d,
        "train --config other.json --data-dir tokens --tokenizer tok.json --output-dir out --resume --device cpu",
    )
    .fails(&["config.json differs", "hidden_size was 48, is 32"]);
    line(
        d,
        "train --config config.json --data-dir valid.txt --tokenizer tok.json --output-dir out --resume --device cpu",
    )
    .fails(&["training data differs"]);
    line(d, &format!("{TRAIN} nowhere --resume")).fails(&["nowhere has no checkpoint"]);
    line(d, &format!("{TRAIN} out/step-0000002 --resume"))
        .fails(&["out/step-0000002 is a checkpoint of a run; give the run: out"]);
    assert!(before == everything(&d.join("out")));
}

/// Long questions leave sequences without any word to learn: their steps have no loss, and that is
/// no failure of the training.
#[test]
fn steps_of_which_nothing_is_learnt_are_told_as_such() {
    let dir = workplace();
    let d = dir.path();
    let question = "The cat sat. ".repeat(80);
    let answered = format!(
        "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{question}\"}}, {{\"role\": \"assistant\", \"content\": \"Yes.\"}}]}}\n"
    );
    std::fs::write(d.join("long.jsonl"), answered.repeat(20)).unwrap();
    let silent = r#"{"messages": [{"role": "user", "content": "The cat sat."}]}"#;
    std::fs::write(d.join("silent.jsonl"), format!("{silent}\n").repeat(4)).unwrap();
    let run = "train --config config.json --tokenizer tok.json --device cpu --max-steps 6 --batch-size 1 --log-every 1 --set seq_len=16 --output-dir";
    let out = line(d, &format!("{run} out --data-dir long.jsonl")).ok();
    let said = "nothing was learnt since the last line: in these sequences of 16 tokens";
    assert_eq!(out.stderr.matches(said).count(), 1, "{}", out.stderr);
    assert!(
        out.stderr.contains(": no loss, lr") && !out.stderr.contains("NaN"),
        "{}",
        out.stderr
    );
    // Where no word at all is learnt, nothing is trained.
    let streamed = format!("{run} no --data-dir silent.jsonl --streaming --shuffle-buffer 8");
    let reason = "no conversation has a message of the assistant's";
    line(d, &streamed).fails(&[reason]);
    line(d, &streamed.replace("--streaming --shuffle-buffer 8", "")).fails(&[reason]);
    let tokens = "--data-dir tokens/b.tokens --streaming";
    line(d, &format!("{run} no {tokens}"))
        .fails(&["b.tokens is tokenized already: leave --streaming out"]);
}

/// Wait until `ready` holds, or the process has ended.
#[cfg(unix)]
fn wait(child: &mut std::process::Child, ready: impl Fn() -> bool) {
    while !ready() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "training ended before it was interrupted"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_leaves() {
    let dir = workplace();
    let d = dir.path();
    let command = format!("{TRAIN} out --max-steps 1000000 --log-every 1 --batch-size 1");
    let mut child = start(d, &command.split_whitespace().collect::<Vec<_>>());
    let file = d.join("out/metrics.jsonl");
    wait(&mut child, || {
        std::fs::metadata(&file).is_ok_and(|m| m.len() > 200)
    });
    let pid = child.id().to_string();
    let kill = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(kill.unwrap().success());
    let out = end(child).ok();
    assert!(out.stderr.contains("stopped at step"), "{}", out.stderr);
    let checkpoint = newest(&d.join("out"));
    let step = state(&checkpoint)["step"].as_u64().unwrap();
    assert_eq!(metrics(&d.join("out")).last().unwrap()["step"], step);
    line(d, "export --model-dir out --output m.1bit").ok();
    let more = format!(
        "{TRAIN} out --resume --max-steps {} --batch-size 1",
        step + 1
    );
    let out = line(d, &more).ok();
    assert!(out.stderr.contains(&format!("resumed at step {step}")));
    assert!(
        out.stderr.contains("max_steps was 1000000, is "),
        "{}",
        out.stderr
    );
}

/// A tied N(0, 1) embedding scores each token itself by about hidden_size = 512. The earlier
/// program whose run this config repeats reports a first loss of 513.98.
#[test]
fn the_earlier_programs_configuration_starts_where_it_did() {
    let dir = workplace();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/seed_wikitext.json");
    let flags = "--max-steps 4 --batch-size 1 --log-every 1 --set seq_len=32 --set save_every=0";
    line(
        dir.path(),
        &format!(
            "train --config {} --data-dir tokens --tokenizer tok.json --device cpu --output-dir seed {flags}",
            config.display()
        ),
    )
    .ok();
    let first = column(&metrics(&dir.path().join("seed")), "train_loss")[0];
    assert!((495.0..530.0).contains(&first), "{first}");
}

#[test]
fn set_reaches_every_field_and_refuses_what_is_none() {
    let dir = workplace();
    let flags = "--max-steps 2 --log-every 1 --set eval_every=0";
    let plain = train(dir.path(), "plain", flags);
    for (i, set) in ["dropout=0.4", "use_rope=false", "weight_scale=row"]
        .iter()
        .enumerate()
    {
        let changed = train(
            dir.path(),
            &format!("set{i}"),
            &format!("{flags} --set {set}"),
        );
        assert_ne!(
            column(&plain, "train_loss"),
            column(&changed, "train_loss"),
            "{set}"
        );
    }
    line(dir.path(), &format!("{TRAIN} none --set dropuot=0.4")).fails(&["dropuot", "dropout"]);
    line(dir.path(), &format!("{TRAIN} none --set dropout=2")).fails(&["dropout is 2"]);
    line(dir.path(), &format!("{TRAIN} none --set dropout")).fails(&["FIELD=VALUE"]);
}

/// A run of Muon goes on as one, and says why it does not as one of AdamW.
#[test]
fn a_run_of_muon_is_resumed_by_muon() {
    let dir = workplace();
    let d = dir.path();
    let run = |flags: &str| {
        let command = format!(
            "train --config config.json --tokenizer tok.json --data-dir tokens --output-dir run --device cpu \
             --batch-size 2 --set seq_len=16 {flags}"
        );
        line(d, &command)
    };
    run("--max-steps 2 --optimizer muon").ok();
    run("--max-steps 3 --resume").fails(&["muon", "finetune"]);
    run("--max-steps 3 --resume --optimizer muon").ok();
}
