//! Checkpoints of `onebit train`: which are kept, the best one, and runs that are killed.

use std::path::{Path, PathBuf};

use serde_json::Value;
use ternary::train::checkpoint;

use crate::common::{line, metrics, newest, start, state, steps, workplace};

const TRAIN: &str = "train --config config.json --data-dir tokens --tokenizer tok.json --device cpu --batch-size 1 \
                     --val-data-dir valid.txt --lr-decay constant --log-every 1 --output-dir";

fn names(run: &Path) -> Vec<String> {
    steps(run)
        .iter()
        .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

fn best(run: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(run.join("best.json")).unwrap()).unwrap()
}

/// The fixture's config, validating every `every` steps.
fn config_validating(dir: &Path, every: usize) {
    let config = crate::common::CONFIG
        .replace("\"eval_every\": 20", &format!("\"eval_every\": {every}"))
        .replace("\"eval_batches\": 2", "\"eval_batches\": 1");
    std::fs::write(dir.join("config.json"), config).unwrap();
}

#[test]
fn the_best_checkpoint_survives_and_is_found() {
    let dir = workplace();
    let d = dir.path();
    config_validating(d, 2);
    // Learn: nothing is due before the end, so what is there besides was saved because its
    // validation was the best so far.
    line(
        d,
        &format!("{TRAIN} run --max-steps 12 --lr 0.01 --keep-last 9 --save-every 100"),
    )
    .ok();
    assert!(
        names(&d.join("run")).len() > 2,
        "{:?}",
        names(&d.join("run"))
    );
    // Then unlearn at a rate that is far too high.
    let low = best(&d.join("run"))["val_loss"].as_f64().unwrap();
    line(
        d,
        &format!("{TRAIN} run --max-steps 26 --lr 3 --keep-last 2 --save-every 3 --resume"),
    )
    .ok();
    let run = d.join("run");
    let b = best(&run);
    let lines = metrics(&run);
    let lowest = lines
        .iter()
        .filter_map(|l| Some((l["val_loss"].as_f64()?, l["step"].as_u64()?)))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap();
    assert_eq!(
        (b["val_loss"].as_f64(), b["step"].as_u64()),
        (Some(lowest.0), Some(lowest.1))
    );
    assert!(lowest.0 <= low && lowest.1 < 20, "{lowest:?}");
    let folder = b["checkpoint"].as_str().unwrap().to_owned();
    assert_eq!(
        names(&run),
        [&folder, "step-0000024", "step-0000026"],
        "the best, and the last two"
    );
    let out = line(d, "export --model-dir run/best --output best.1bit").ok();
    assert!(out.stderr.contains(&folder), "{}", out.stderr);
    let eval = |model: &str| {
        line(
            d,
            &format!("eval --model {model} --data valid.txt --device cpu --json"),
        )
        .ok()
        .json()
    };
    assert_eq!(eval("run/best"), eval(&format!("run/{folder}")));
    assert_ne!(eval("run/best"), eval("run"));

    std::fs::remove_dir_all(run.join(&folder)).unwrap();
    line(d, "export --model-dir run/best --output m.1bit").fails(&["best.json", &folder]);
    line(d, "eval --model tokens/best --data valid.txt --device cpu").fails(&["tokens/best"]);
    // Without it only the newest are kept.
    line(
        d,
        &format!("{TRAIN} none --max-steps 6 --keep-best false --keep-last 2 --save-every 1"),
    )
    .ok();
    assert_eq!(names(&d.join("none")), ["step-0000005", "step-0000006"]);
    assert!(!d.join("none/best.json").exists());
    line(
        d,
        &format!("{TRAIN} none --max-steps 7 --keep-last 0 --resume"),
    )
    .fails(&["keep_last is 0"]);
}

#[test]
fn a_resumed_mean_is_that_of_an_uninterrupted_run() {
    let dir = workplace();
    let d = dir.path();
    let flags = "--max-steps 8 --log-every 4 --save-every 3 --keep-last 9 --batch-size 1";
    let train = |out: &str, more: &str| {
        let base = "train --config config.json --data-dir tokens --tokenizer tok.json --device cpu --output-dir";
        line(d, &format!("{base} {out} {flags} {more}")).ok();
        metrics(&d.join(out))
    };
    let straight = train("straight", "");
    crate::common::copy_dir(
        &d.join("straight/step-0000003"),
        &d.join("resumed/step-0000003"),
    );
    let resumed = train("resumed", "--resume");
    // Line 4 covers step 4 and the three before the checkpoint.
    for (a, b) in straight.iter().zip(&resumed) {
        assert_eq!(
            (&a["step"], &a["train_loss"]),
            (&b["step"], &b["train_loss"])
        );
    }
}

/// What a run says at its end was measured by itself, when it says.
#[test]
fn a_resumed_run_tells_of_its_own_validations_only() {
    let dir = workplace();
    let d = dir.path();
    config_validating(d, 2);
    let base = "train --config config.json --data-dir tokens --tokenizer tok.json --device cpu --batch-size 1 \
                --log-every 1 --output-dir run";
    let train = |flags: &str| {
        let said = line(d, &format!("{base} {flags}")).ok().stderr;
        let last = said.lines().rev().find(|l| l.contains(" at step "));
        last.unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    let said = train("--max-steps 8 --pause-at 4 --val-data-dir valid.txt");
    assert!(
        said.starts_with("stopped at step 4: ") && said.contains("validation loss"),
        "{said}"
    );
    let old = said.rsplit(' ').next().unwrap();
    // Nothing is measured without the data.
    let said = train("--max-steps 8 --pause-at 5 --resume");
    assert!(
        !said.contains("validation") && !said.contains(old),
        "{said}"
    );
    // With it, what was measured before counts no more either.
    let said = train("--max-steps 10 --pause-at 7 --resume --val-data-dir valid.txt");
    assert!(
        said.contains("validation loss ") && said.ends_with(" at step 6"),
        "{said}"
    );
    let said = train("--max-steps 10 --resume");
    assert!(
        said.starts_with("done at step 10: ") && !said.contains("validation"),
        "{said}"
    );
    // And where there is nothing left to do.
    let said = train("--max-steps 10 --resume --val-data-dir valid.txt");
    assert!(!said.contains("validation"), "{said}");
}

/// What every checkpoint of a killed run must be, and its metrics.
fn check_whole(run: &Path) {
    for folder in steps(run) {
        let loaded = checkpoint::load(&folder).unwrap();
        let moments = checkpoint::read_safetensors(&folder.join("optimizer.safetensors")).unwrap();
        assert_eq!(
            moments.len(),
            2 * loaded.tensors.len(),
            "{}",
            folder.display()
        );
        assert!(loaded.state.is_some());
    }
    metrics(run);
    if run.join("best.json").exists() {
        let folder = best(run)["checkpoint"].as_str().unwrap().to_owned();
        assert!(run.join(folder).join("model.safetensors").is_file());
    }
}

/// Figures that must not depend on interruptions.
fn figures(run: &Path) -> Vec<Value> {
    let mut lines = metrics(run);
    for l in &mut lines {
        for key in ["tokens_per_second", "seconds"] {
            l.as_object_mut().unwrap().remove(key);
        }
    }
    lines
}

#[test]
fn a_run_killed_twenty_times_loses_nothing() {
    const KILLS: u64 = 20;
    let dir = workplace();
    let d = dir.path();
    config_validating(d, 3);
    let run = d.join("out");
    let mut random = 12345u64;
    for round in 0..KILLS {
        let resume = if round == 0 { "" } else { "--resume" };
        let command = format!("{TRAIN} out --max-steps 1000000 --save-every 1 {resume}");
        let before: Option<PathBuf> = run.is_dir().then(|| newest(&run));
        let mut child = start(d, &command.split_whitespace().collect::<Vec<_>>());
        while !run.is_dir() || steps(&run).pop() <= before {
            assert!(
                child.try_wait().unwrap().is_none(),
                "training ended before it was killed"
            );
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        // A step with its save takes some tens of milliseconds: every part of it gets its turn.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        std::thread::sleep(std::time::Duration::from_micros((random >> 33) % 60_000));
        child.kill().unwrap();
        child.wait().unwrap();
        check_whole(&run);
    }
    // Go on for two steps, and do as many without interruption.
    let last = state(&newest(&run))["step"].as_u64().unwrap() + 2;
    let more = format!("--max-steps {last} --save-every 1");
    line(d, &format!("{TRAIN} out {more} --resume")).ok();
    line(d, &format!("{TRAIN} straight {more}")).ok();
    let straight = d.join("straight");
    assert_eq!(figures(&run), figures(&straight));
    assert_eq!(names(&run), names(&straight));
    assert_eq!(best(&run), best(&straight));
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let bytes = |run: &Path| std::fs::read(newest(run).join(file)).unwrap();
        assert!(bytes(&run) == bytes(&straight), "{file} differs");
    }
    // What the killed runs left unfinished is cleared away.
    let left: Vec<String> = std::fs::read_dir(&run)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|n| n.starts_with('.') || n.ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_checkpoint_of_schema_1_is_resumed() {
    let dir = workplace();
    let d = dir.path();
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/v1-checkpoint");
    crate::common::copy_dir(&old, &d.join("run/step-0000003"));
    std::fs::copy(old.join("config.json"), d.join("v1.json")).unwrap();
    let text = "The cat sat in the garden. The dog ran by the river.\n".repeat(60);
    std::fs::write(d.join("v1.txt"), text).unwrap();
    let command = "train --config v1.json --data-dir v1.txt --tokenizer run/step-0000003/tokenizer.json --device cpu \
                   --output-dir run --resume --lr 0.005 --lr-warmup-steps 2 --max-steps 6 --batch-size 2 --log-every 1";
    let out = line(d, command).ok();
    assert!(out.stderr.contains("resumed at step 3"), "{}", out.stderr);
    let losses: Vec<f64> = metrics(&d.join("run"))
        .iter()
        .map(|l| l["train_loss"].as_f64().unwrap())
        .collect();
    // What the program of that version went on to.
    for (loss, then) in losses.iter().zip([5.533_662, 5.505_560, 5.460_121]) {
        assert!((loss - then).abs() < 1e-3, "{losses:?}");
    }
    assert_eq!(losses.len(), 3);
    assert_eq!(state(&newest(&d.join("run")))["schema"], 2);
    let path = d.join("run/step-0000006/train_state.json");
    let future = std::fs::read_to_string(&path)
        .unwrap()
        .replace("\"schema\": 2", "\"schema\": 9");
    std::fs::write(path, future).unwrap();
    line(d, &command.replace("--max-steps 6", "--max-steps 7"))
        .fails(&["schema version 9", "versions 1 to 2"]);
}
