//! `onebit train --sweep`.

use serde_json::Value;

use crate::common::{end, line, metrics, newest, sentences, start, workplace};

const SWEEP: &str = "train --config config.json --data-dir tokens --val-data-dir valid.txt --tokenizer tok.json \
                     --device cpu --max-steps 40 --batch-size 1 --set eval_every=10 --output-dir out --sweep";

#[test]
fn the_worst_are_given_up_and_the_same_command_goes_on() {
    let dir = workplace();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(
        at("sweep.json"),
        r#"{"fields": {"lr": [1e-9, 3e-3, 1e-8]}, "seeds": [1, 2], "rungs": [0.5, 1], "keep": 0.3}"#,
    )
    .unwrap();
    let table = line(dir.path(), &format!("{SWEEP} sweep.json --lr 7"))
        .ok()
        .stdout;
    let rows: Vec<&str> = table.lines().skip(2).collect();
    assert!(
        rows[0].starts_with("| 2 | 0.003 | 40 | ") && rows[0].contains("(2 seeds)"),
        "{table}"
    );
    assert!(
        rows[1..].iter().all(|row| row.contains(" | 20 | ")),
        "{table}"
    );
    // What was paused and went on is what never paused.
    line(
        dir.path(),
        &format!(
            "{} --lr 0.003 --seed 2",
            SWEEP.replace("--output-dir out --sweep", "--output-dir whole")
        ),
    )
    .ok();
    let without_times = |run: &str| -> Vec<Value> {
        metrics(&at(run))
            .iter()
            .map(|l| l["val_loss"].clone())
            .collect()
    };
    assert_eq!(
        without_times("out/trial-002/seed-2"),
        without_times("whole")
    );
    let model = |run: &str| std::fs::read(newest(&at(run)).join("model.safetensors")).unwrap();
    assert!(model("out/trial-002/seed-2") == model("whole"));
    // Nothing is done again.
    let log = std::fs::read(at("out/trial-001/seed-1/log.txt")).unwrap();
    let again = line(dir.path(), &format!("{SWEEP} sweep.json --lr 7"))
        .ok()
        .stdout;
    assert_eq!(again, table);
    assert_eq!(
        std::fs::read(at("out/trial-001/seed-1/log.txt")).unwrap(),
        log
    );
    assert!(
        std::fs::read_to_string(at("out/sweep.svg"))
            .unwrap()
            .contains("<svg")
    );
    let record = std::fs::read_to_string(at("out/sweep.json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["trials"][1]["losses"].as_array().unwrap().len(), 2);
    // Another sweep does not mix with it.
    std::fs::write(at("other.json"), r#"{"fields": {"lr": [1e-3]}}"#).unwrap();
    line(dir.path(), &format!("{SWEEP} other.json")).fails(&["of another sweep"]);
}

#[test]
fn what_cannot_be_trained_is_told_before_anything_begins() {
    let dir = workplace();
    let cases = [
        (
            r#"{"fields": {"lr": [1e-3], "hidden_sizes": [4]}}"#,
            "hidden_sizes",
        ),
        (r#"{"fields": {"num_heads": [3]}}"#, "trial 1 (num_heads 3)"),
        (r#"{"fields": {"lr": {"from": 1, "to": 2}}}"#, "`trials`"),
        (
            r#"{"fields": {"lr": 0.1}}"#,
            r#"a list of values, or a range {"from": A, "to": B}"#,
        ),
    ];
    for (sweep, reason) in cases {
        std::fs::write(dir.path().join("sweep.json"), sweep).unwrap();
        line(dir.path(), &format!("{SWEEP} sweep.json")).fails(&[reason]);
        assert!(!dir.path().join("out").exists());
    }
    line(dir.path(), &format!("{SWEEP} sweep.json --resume")).fails(&["leave --resume out"]);
}

/// A field's longer name is the same field: the command's own flag does not win over the trials.
#[test]
fn a_field_is_swept_by_either_of_its_names() {
    let dir = workplace();
    let sweep = r#"{"fields": {"training.lr": [1e-9, 3e-3]}, "trials": 5}"#;
    std::fs::write(dir.path().join("sweep.json"), sweep).unwrap();
    let short = SWEEP.replace("40", "10");
    let done = line(dir.path(), &format!("{short} sweep.json --lr 1e-9")).ok();
    assert!(
        done.stderr.contains("2 trials that differ"),
        "{}",
        done.stderr
    );
    let losses: Vec<&str> = (done.stdout.lines().skip(2))
        .filter_map(|row| row.split(" | ").nth(3))
        .collect();
    assert_eq!(losses.len(), 2, "{}", done.stdout);
    assert!(losses[0] != losses[1], "{}", done.stdout);
    // Of one field given twice one value would be passed over.
    let train = short.replace("--output-dir out --sweep", "--output-dir run");
    line(
        dir.path(),
        &format!("{train} --lr 1e-3 --set training.lr=1e-2"),
    )
    .fails(&["--set lr=0.01 and --lr are given", "leave one out"]);
}

/// Results of other data or settings are never taken for the new command's.
#[test]
fn a_sweep_goes_on_with_the_same_data_and_settings_only() {
    let dir = workplace();
    let d = dir.path();
    let at = |name: &str| d.join(name);
    std::fs::write(at("sweep.json"), r#"{"fields": {"lr": [1e-3, 3e-3]}}"#).unwrap();
    let text = std::fs::read_to_string(at("valid.txt")).unwrap();
    std::fs::write(at("other.txt"), format!("{text} And more.")).unwrap();
    std::fs::write(at("texts.txt"), sentences(4000, 9)).unwrap();
    let config = std::fs::read_to_string(at("config.json")).unwrap();
    let mut wider: Value = serde_json::from_str(&config).unwrap();
    wider["rope_theta"] = 5000.into();
    std::fs::write(at("wider.json"), wider.to_string()).unwrap();
    let json = std::fs::read_to_string(at("tok.json")).unwrap();
    std::fs::write(at("tok2.json"), format!("{json}\n")).unwrap();
    let first = format!("{SWEEP} sweep.json");
    let table = line(d, &first).ok().stdout;
    for (was, is, words) in [
        (
            "--data-dir tokens",
            "--data-dir texts.txt",
            &["--data-dir names something else"][..],
        ),
        (
            "--val-data-dir valid.txt",
            "--val-data-dir other.txt",
            &["--val-data-dir names"],
        ),
        (
            "--tokenizer tok.json",
            "--tokenizer tok2.json",
            &["--tokenizer names something else"],
        ),
        (
            "--batch-size 1",
            "--batch-size 2",
            &["batch_size was 1, is 2"],
        ),
        (
            "--max-steps 40",
            "--max-steps 50",
            &["max_steps was 40, is 50"],
        ),
        (
            "eval_every=10",
            "eval_every=20",
            &["eval_every was 10, is 20"],
        ),
        (
            "--device cpu",
            "--device cpu --seed 9",
            &["seed was ", "is 9"],
        ),
        (
            "--device cpu",
            "--device cpu --train-on all",
            &["--train-on was \"assistant\", is \"all\""],
        ),
        (
            "--config config.json",
            "--config wider.json",
            &["rope_theta was ", "is 5000.0"],
        ),
    ] {
        let out = line(d, &first.replace(was, is));
        out.fails(&[&["other data or settings", "another --output-dir"], words].concat());
    }
    let same = first.replace("--device cpu", "--device cpu --threads 1 --save-every 7");
    assert_eq!(line(d, &same).ok().stdout, table);
    // A folder without its record may be of anything.
    std::fs::remove_file(at("out/sweep.json")).unwrap();
    line(d, &first).fails(&["trial-001", "sweep.json", "another --output-dir"]);
    // Data that is gone once it was read.
    let once = first.replace("--data-dir tokens", "--data-dir -");
    line(d, &once.replace("--output-dir out", "--output-dir new")).fails(&["--data-dir -", "once"]);
    assert!(!at("new").exists());
}

#[cfg(unix)]
#[test]
fn two_sweeps_never_share_a_folder_and_a_stopped_one_tells_no_loss() {
    let dir = workplace();
    let d = dir.path();
    std::fs::write(d.join("sweep.json"), r#"{"fields": {"lr": [1e-3, 3e-3]}}"#).unwrap();
    let long = SWEEP.replace(
        "--max-steps 40",
        "--max-steps 1000000 --lr-warmup-steps 2000000",
    );
    let long = format!("{long} sweep.json");
    let args: Vec<&str> = long.split_whitespace().collect();
    let mut first = start(d, &args);
    while !d.join("out/trial-001/metrics.jsonl").exists() {
        assert!(first.try_wait().unwrap().is_none(), "the sweep ended");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    line(d, &long).fails(&["another sweep", "another --output-dir"]);
    // As a terminal does it: the training in front is told, too, behind the sweep here.
    let pid = first.id().to_string();
    for (program, args) in [
        ("kill", &["-INT", &pid][..]),
        ("pkill", &["-INT", "-P", &pid]),
    ] {
        let told = std::process::Command::new(program).args(args).status();
        assert!(told.unwrap().success());
    }
    let said = end(first).ok().stderr;
    assert!(said.contains("the same command goes on"), "{said}");
    assert!(
        !said.contains("trial 1 (") && !said.contains("inf"),
        "{said}"
    );
    assert_eq!(said.matches("the warm-up of").count(), 1, "{said}");
    assert!(!d.join("out/.lock").exists());
}
