//! The processes are real, the machine is one.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{copy_dir, fixture, line, metrics, newest, steps, workplace};

const TRAIN: &str = "train --config config.json --data-dir tokens --val-data-dir valid.txt \
    --tokenizer tok.json --device cpu --threads 1 --log-every 1 --save-every 10 --batch-size 2 \
    --accumulation-steps 4";

/// `mpirun`, as root in a container, too, and with more processes than cores.
fn mpirun(dir: &Path, ranks: usize, args: &str) -> Command {
    let mut command = Command::new("mpirun");
    command
        .args(["-n", &ranks.to_string()])
        .arg(env!("CARGO_BIN_EXE_onebit"))
        .args(args.split_whitespace())
        .current_dir(dir)
        .envs([
            ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
            ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
            ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
            ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What the processes said together.
fn together(dir: &Path, ranks: usize, args: &str) -> String {
    let out = mpirun(dir, ranks, args).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        out.status.success(),
        "mpirun -n {ranks} onebit {args}:\n{said}"
    );
    said
}

/// Lines of the metrics without what a clock says.
fn figures(run: &Path) -> Vec<Value> {
    let mut lines = metrics(run);
    for line in &mut lines {
        line["seconds"] = Value::Null;
        line["tokens_per_second"] = Value::Null;
    }
    lines
}

fn assert_same(a: &Path, b: &Path) {
    assert_eq!(figures(a), figures(b));
    for name in ["model.safetensors", "optimizer.safetensors"] {
        let [a, b] = [a, b].map(|run| std::fs::read(newest(run).join(name)).unwrap());
        assert!(a == b, "{name} differs");
    }
}

#[test]
fn two_and_four_ranks_train_what_one_with_accumulation_trains() {
    let temp = workplace();
    let dir = temp.path();
    let train = format!("{TRAIN} --max-steps 50 --output-dir");
    line(dir, &format!("{train} alone")).ok();
    assert_eq!(metrics(&dir.join("alone")).len(), 50);
    for ranks in [2, 4] {
        let out = format!("of-{ranks}");
        let said = together(dir, ranks, &format!("{train} {out}"));
        assert_same(&dir.join("alone"), &dir.join(&out));
        assert_eq!(said.matches("done at step 50").count(), 1, "{said}");
    }
}

#[test]
fn a_run_of_four_goes_on_with_two() {
    let temp = workplace();
    let dir = temp.path();
    let train = format!("{TRAIN} --max-steps 30");
    line(dir, &format!("{train} --output-dir alone")).ok();
    together(dir, 4, &format!("{train} --pause-at 13 --output-dir out"));
    assert!(metrics(&dir.join("out")).len() < 30);
    together(dir, 2, &format!("{train} --resume --output-dir out"));
    assert_same(&dir.join("alone"), &dir.join("out"));
}

/// The process of a rank, below mpirun.
fn process(mpirun: &Child, rank: usize) -> Option<u32> {
    let wanted = [
        format!("OMPI_COMM_WORLD_RANK={rank}"),
        format!("PMI_RANK={rank}"),
    ];
    let is_rank = |id: &u32| {
        let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        let mut variables = environment.split(|b| *b == 0);
        variables.any(|v| wanted.iter().any(|w| w.as_bytes() == v))
    };
    let parent = |id: u32| -> Option<u32> {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("PPid:"))?;
        line.trim().parse().ok()
    };
    let below = |id: u32| {
        let above = std::iter::successors(Some(id), |id| parent(*id));
        above.take(4).any(|id| id == mpirun.id())
    };
    let all = std::fs::read_dir("/proc").ok()?;
    let ids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(is_rank).find(|id| below(*id))
}

#[test]
fn a_killed_rank_ends_the_run_and_costs_no_checkpoint() {
    let temp = workplace();
    let dir = temp.path();
    // Long enough to be killed in the middle.
    let long = format!("{TRAIN} --max-steps 100000 --lr-decay constant --output-dir out");
    let mut child = mpirun(dir, 3, &long).spawn().unwrap();
    let begun = Instant::now();
    let out = dir.join("out");
    while !out.is_dir() || steps(&out).len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(120), "no checkpoint");
        assert!(child.try_wait().unwrap().is_none(), "mpirun ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = process(&child, 1).unwrap();
    Command::new("kill")
        .args(["-9", &id.to_string()])
        .status()
        .unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(!ended.status.success());
    let said = String::from_utf8_lossy(&ended.stderr);
    let last = newest(&out);
    assert!(
        said.contains(last.file_name().unwrap().to_str().unwrap()),
        "{said}"
    );
    assert!(said.contains("--resume"), "{said}");
    // It is whole: another number of ranks goes on from it.
    let step: usize = last
        .display()
        .to_string()
        .rsplit('-')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let more = format!(
        "{TRAIN} --max-steps {} --lr-decay constant --resume --output-dir out",
        step + 5
    );
    together(dir, 2, &more);
    assert_eq!(metrics(&out).last().unwrap()["step"], step + 5);
}

#[test]
fn what_goes_wrong_is_told_once() {
    let temp = workplace();
    let dir = temp.path();
    let fails = |ranks, args: &str| {
        let ended = mpirun(dir, ranks, args).output().unwrap();
        assert!(!ended.status.success());
        String::from_utf8_lossy(&ended.stderr).into_owned()
    };
    let said = fails(5, &format!("{TRAIN} --max-steps 5 --output-dir out"));
    assert_eq!(said.matches("a multiple of 5").count(), 1, "{said}");
    // Open MPI's and MPICH's way to start two different programs.
    let two = format!(
        "{TRAIN} --output-dir out : -n 1 {} {TRAIN} --seed 2 --output-dir out",
        env!("CARGO_BIN_EXE_onebit")
    );
    let said = fails(1, &two);
    assert!(said.contains("error on rank 1 of 2"), "{said}");
    assert!(said.contains("another training configuration"), "{said}");
}

#[test]
fn a_search_on_three_ranks_finds_what_one_finds() {
    let temp = workplace();
    let dir = temp.path();
    copy_dir(&fixture().join("run"), &dir.join("run"));
    let search = "search --checkpoint run --val-data valid.txt --device cpu --threads 1 \
        --max-evals 20 --max-size-mb 0.1 --output";
    line(dir, &format!("{search} alone.json")).ok();
    let said = together(dir, 3, &format!("{search} three.json"));
    let [alone, three] =
        ["alone.json", "three.json"].map(|name| std::fs::read_to_string(dir.join(name)).unwrap());
    assert_eq!(alone, three, "{said}");
    assert!(!dir.join("three.json.journal").exists());
}
