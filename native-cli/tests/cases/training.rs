//! Trainings as people run them: short ones, interrupted ones, on full disks.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{CONFIG, end, line, metrics, sentences, start, state, steps};
use crate::support::{Place, put};

const TRAIN: &str = "train --config c.json --data-dir text.txt --tokenizer t.json --batch-size 1 --device cpu --output-dir";

fn place() -> Place {
    let place = Place::new();
    put(&place.at("c.json"), CONFIG);
    put(&place.at("text.txt"), sentences(20_000, 1));
    line(
        place.dir(),
        "tokenize --data-dir text.txt --tokenizer t.json --train-vocab 270 --output x.tokens",
    )
    .ok();
    place
}

#[test]
fn a_warm_up_longer_than_the_run_is_shortened_and_said() {
    let place = place();
    put(
        &place.at("long.json"),
        CONFIG.replace("\"lr_warmup_steps\": 5", "\"lr_warmup_steps\": 100"),
    );
    let train = TRAIN.replace("c.json", "long.json");
    let out = line(
        place.dir(),
        &format!("{train} a --max-steps 20 --log-every 1"),
    )
    .ok();
    assert!(
        out.stderr.contains("warm-up of 100 steps") && out.stderr.contains("2 are used"),
        "{}",
        out.stderr
    );
    let lr = |i: usize| {
        metrics(&place.at("a"))[i]["learning_rate"]
            .as_f64()
            .unwrap()
    };
    assert!(lr(2) > 0.9 * 1e-2, "the peak is not reached: {}", lr(2));
    // What the user sets is obeyed, with a word.
    let out = line(
        place.dir(),
        &format!("{train} b --max-steps 20 --lr-warmup-steps 50"),
    )
    .ok();
    assert!(
        out.stderr.contains("never reaches its peak"),
        "{}",
        out.stderr
    );
}

#[test]
fn off_a_terminal_every_logged_step_is_a_line_with_one_loss() {
    let place = place();
    let out = line(
        place.dir(),
        &format!("{TRAIN} run --max-steps 6 --log-every 2"),
    )
    .ok()
    .stderr;
    let lines: Vec<&str> = out.lines().filter(|l| l.starts_with("step ")).collect();
    assert_eq!(lines.len(), 3, "{out}");
    for (text, logged) in lines.iter().zip(metrics(&place.at("run"))) {
        let loss = format!("loss {:.4}", logged["train_loss"].as_f64().unwrap());
        assert!(text.contains(&loss), "{text} {loss}");
    }
}

#[cfg(unix)]
#[test]
fn signals_save_a_checkpoint() {
    let place = place();
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 0)] {
        let run = format!("run-{signal}");
        let args = format!("{TRAIN} {run} --max-steps 100000 --save-every 0 --log-every 1");
        let child = start(place.dir(), &args.split_whitespace().collect::<Vec<_>>());
        let begun = Instant::now();
        let logged =
            || std::fs::read_to_string(place.at(&run).join("metrics.jsonl")).unwrap_or_default();
        while logged().lines().count() < 3 {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(5));
        }
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        let out = end(child);
        assert_eq!(out.code, Some(code), "{out:?}");
        assert_eq!(steps(&place.at(&run)).len(), 1, "{out:?}");
        let saved = state(&steps(&place.at(&run))[0])["step"].as_u64().unwrap();
        let more = saved + 1;
        let out = line(
            place.dir(),
            &format!("{TRAIN} {run} --max-steps {more} --resume"),
        )
        .ok();
        assert!(
            out.stderr.contains(&format!("resumed at step {saved}")),
            "{}",
            out.stderr
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_makes_room_and_leaves_no_half_checkpoint() {
    let place = place();
    let disk = place.at("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(&disk)
        .status();
    if !mounted.is_ok_and(|s| s.success()) {
        println!("SKIPPED: a small disk cannot be mounted here (that takes root)");
        return;
    }
    let out = line(
        place.dir(),
        &format!("{TRAIN} disk/run --max-steps 60 --save-every 5 --keep-last 50"),
    );
    let names: Vec<String> = std::fs::read_dir(disk.join("run"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let resumed = line(
        place.dir(),
        &format!("{TRAIN} disk/run --max-steps 62 --save-every 5 --keep-last 50 --resume"),
    );
    // A disk that not even one checkpoint fits on.
    put(&disk.join("filler"), vec![0u8; 1]);
    let free = Command::new("sh")
        .args([
            "-c",
            "rm -rf disk/run; head -c 1900000 /dev/zero > disk/filler",
        ])
        .current_dir(place.dir())
        .status();
    let none = line(place.dir(), &format!("{TRAIN} disk/other --max-steps 5"));
    let left = std::fs::read_dir(disk.join("other")).map_or(0, |d| {
        d.filter(|e| {
            e.as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .contains("step-")
        })
        .count()
    });
    assert!(
        Command::new("umount")
            .arg(&disk)
            .status()
            .unwrap()
            .success()
    );
    out.ok();
    assert!(
        !names
            .iter()
            .any(|n| n.contains(".tmp") || n.contains(".part")),
        "{names:?}"
    );
    assert!(names.iter().any(|n| n == "step-0000060"), "{names:?}");
    resumed.ok();
    assert!(free.unwrap().success());
    none.fails(&["No space left"]);
    assert_eq!(left, 0);
}

#[test]
fn a_damaged_newest_checkpoint_is_passed_over() {
    let place = place();
    line(
        place.dir(),
        &format!("{TRAIN} run --max-steps 6 --save-every 2 --keep-last 9"),
    )
    .ok();
    let file = place.at("run/step-0000006/model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    for (name, content) in [
        ("model.safetensors", bytes[..bytes.len() - 10].to_vec()),
        ("train_state.json", b"{\"schema\": ".to_vec()),
        ("optimizer.safetensors", Vec::new()),
    ] {
        let file = place.at("run/step-0000006").join(name);
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, content).unwrap();
        let out = line(place.dir(), "export --model-dir run --output m.1bit").ok();
        assert!(
            out.stderr.contains("step-0000006") && out.stderr.contains("step-0000004"),
            "{}",
            out.stderr
        );
        let out = line(
            place.dir(),
            &format!("{TRAIN} run --max-steps 5 --resume --keep-last 9"),
        )
        .ok();
        assert!(out.stderr.contains("resumed at step 4"), "{}", out.stderr);
        std::fs::remove_dir_all(place.at("run/step-0000005")).unwrap();
        std::fs::write(&file, whole).unwrap();
    }
}

#[test]
fn steps_are_sorted_as_numbers() {
    let place = place();
    line(
        place.dir(),
        &format!("{TRAIN} run --max-steps 4 --save-every 2"),
    )
    .ok();
    // As a run of ten million steps would have it.
    let run = place.at("run");
    for (from, to) in [
        ("step-0000002", "step-9999999"),
        ("step-0000004", "step-10000000"),
    ] {
        std::fs::rename(run.join(from), run.join(to)).unwrap();
    }
    let out = line(place.dir(), "export --model-dir run --output m.1bit").ok();
    assert!(out.stderr.contains("step-10000000"), "{}", out.stderr);
}

#[test]
fn two_trainings_do_not_share_a_folder() {
    let place = place();
    let args = format!("{TRAIN} run --max-steps 100000 --log-every 1");
    let mut child = start(place.dir(), &args.split_whitespace().collect::<Vec<_>>());
    let begun = Instant::now();
    while !place.at("run/metrics.jsonl").exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    line(place.dir(), &format!("{TRAIN} run --max-steps 5")).fails(&["another training", "run"]);
    child.kill().unwrap();
    end(child);
    line(place.dir(), &format!("{TRAIN} run --max-steps 5")).ok();
}

#[test]
fn without_validation_data_the_best_is_the_newest_and_said() {
    let place = place();
    line(
        place.dir(),
        &format!("{TRAIN} run --max-steps 4 --save-every 2"),
    )
    .ok();
    let out = line(place.dir(), "export --model-dir run/best --output m.1bit").ok();
    assert!(
        out.stderr.contains("newest") && out.stderr.contains("step-0000004"),
        "{}",
        out.stderr
    );
    assert_eq!(out.stderr.matches("newest").count(), 1, "{}", out.stderr);
    line(
        place.dir(),
        "export --model-dir nothing/best --output m.1bit",
    )
    .fails(&["nothing/best"]);
}

#[test]
fn a_tokenizer_that_tokens_depend_on_is_not_replaced_unasked() {
    let place = place();
    let again = "tokenize --data-dir text.txt --tokenizer t.json --train-vocab 280 --output";
    let before = std::fs::read(place.at("t.json")).unwrap();
    line(place.dir(), &format!("{again} y.tokens")).fails(&["x.tokens", "--force"]);
    assert_eq!(std::fs::read(place.at("t.json")).unwrap(), before);
    // The same command again makes the same files anew.
    line(place.dir(), &format!("{again} x.tokens")).ok();
    line(place.dir(), &format!("{again} y.tokens --force")).ok();
}

#[test]
fn sizes_out_of_all_proportion_are_refused() {
    let place = place();
    for flags in [
        "--batch-size 288230376151711744",
        "--batch-size 4000000",
        "--accumulation-steps 18446744073709551615",
        "--set max_steps=18446744073709551615",
        "--streaming --shuffle-buffer 288230376151711744",
        "--streaming --shuffle-buffer 2000000000",
    ] {
        let command = TRAIN.replace("--batch-size 1 ", "");
        line(place.dir(), &format!("{command} run {flags}")).fails(&[]);
        assert!(!place.at("run").exists(), "{flags}");
    }
    for vocab in ["100", "18446744073709551615", "99999999"] {
        line(
            place.dir(),
            &format!("tokenize --data-dir text.txt --tokenizer v.json --train-vocab {vocab} --output v.tokens"),
        )
        .fails(&["vocabulary"]);
    }
}

#[test]
fn saved_settings_with_floats_are_the_same_when_read() {
    // serde_json's quick parser is one unit in the last place off for some numbers; this is one of
    // them.
    let value = json!(3.768_437_759_813_127_6);
    let read: serde_json::Value = serde_json::from_str(&value.to_string()).unwrap();
    assert_eq!(read, value);
}
