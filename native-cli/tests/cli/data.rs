//! Large data: mapped token files, streamed texts, memory.

use std::path::Path;

use ternary::data::write_tokens;

use crate::common::{line, metrics, newest, sentences, start, state, workplace};

/// Ids in a header made for `count` ids of a text that is all zeros: the file may be sparse.
fn sparse_tokens(path: &Path, like: &Path, count: u64) -> std::io::Result<()> {
    let model = std::fs::read(like)?;
    let mut header = model[..64].to_vec();
    header[24..32].copy_from_slice(&count.to_le_bytes());
    std::fs::write(path, header)?;
    let file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.set_len(64 + 2 * count)
}

/// Run a command to its end; the most memory it held (VmHWM), in MB.
fn peak_memory(dir: &Path, args: &str) -> f64 {
    let mut child = start(dir, &args.split_whitespace().collect::<Vec<_>>());
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0f64;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let kb = text.lines().find_map(|l| {
            l.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<f64>()
                .ok()
        });
        peak = peak.max(kb.unwrap_or(0.0) / 1024.0);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    crate::common::end(child).ok();
    peak
}

const TRAIN: &str = "train --config config.json --tokenizer tok.json --device cpu --output-dir";

#[test]
fn ten_gigabytes_of_tokens_are_trained_on_without_being_read() {
    if !cfg!(target_os = "linux") {
        eprintln!("SKIPPED: memory is measured by /proc, which only Linux has");
        return;
    }
    let dir = workplace();
    let d = dir.path();
    let small = d.join("tokens/b.tokens");
    let large = d.join("large.tokens");
    let made = sparse_tokens(&large, &small, 5_000_000_000);
    if let Err(e) = made {
        eprintln!("SKIPPED: the file system refuses a sparse file of 10 GB: {e}");
        return;
    }
    let steps = "--max-steps 20 --batch-size 4";
    let few = peak_memory(d, &format!("{TRAIN} a {steps} --data-dir tokens"));
    let before = std::time::Instant::now();
    let many = peak_memory(d, &format!("{TRAIN} b {steps} --data-dir large.tokens"));
    eprintln!(
        "{few:.0} MB on a small file, {many:.0} MB on 10 GB, in {:.1?}",
        before.elapsed()
    );
    assert!(few > 1.0 && many < few + 100.0, "{few} MB, {many} MB");
    assert_eq!(state(&newest(&d.join("b")))["tokens_seen"], 20 * 4 * 32);
    let out = line(d, "inspect large.tokens").ok().stdout;
    assert!(
        out.contains("5000000000 tokens of 2 bytes") && out.contains("not verified"),
        "{out}"
    );
}

#[test]
fn token_files_are_inspected_and_verified() {
    let dir = workplace();
    let d = dir.path();
    let out = line(d, "inspect tokens/b.tokens --verify --json")
        .ok()
        .json();
    assert_eq!(
        (&out["verified"], &out["seq_len"]),
        (&true.into(), &32.into())
    );
    let mut bytes = std::fs::read(d.join("tokens/b.tokens")).unwrap();
    bytes[100] ^= 1;
    std::fs::write(d.join("bad.tokens"), &bytes).unwrap();
    assert_eq!(
        line(d, "inspect bad.tokens --json").ok().json()["verified"],
        serde_json::Value::Null
    );
    line(d, "inspect bad.tokens --verify").fails(&["bad.tokens", "checksum", "tokenize"]);
    let foreign = write_tokens(&[5, 6, 299], 299, 0, 0);
    std::fs::write(d.join("foreign.tokens"), foreign).unwrap();
    line(d, "inspect foreign.tokens --verify").fails(&["foreign.tokens", "id 2", "299"]);
    line(d, "inspect config.json --verify").fails(&[".tokens"]);
}

#[test]
fn tokenizing_takes_the_same_memory_whatever_the_size() {
    if !cfg!(target_os = "linux") {
        eprintln!("SKIPPED: memory is measured by /proc, which only Linux has");
        return;
    }
    let dir = workplace();
    let d = dir.path();
    let text = sentences(500_000, 5);
    // The smaller text already fills every thread's piece; read whole, the larger takes 15 MB more.
    std::fs::write(d.join("small.txt"), text.repeat(10)).unwrap();
    std::fs::write(d.join("large.txt"), text.repeat(40)).unwrap();
    let tokenize = |name: &str| {
        peak_memory(
            d,
            &format!("tokenize --data-dir {name}.txt --tokenizer tok.json --output {name}.tokens"),
        )
    };
    let (small, large) = (tokenize("small"), tokenize("large"));
    eprintln!("{small:.0} MB for 5 MB of text, {large:.0} MB for 20 MB");
    assert!(large < small + 14.0, "{small} MB, {large} MB");
    line(d, "inspect large.tokens --verify").ok();
    // So does training a tokenizer on them.
    let train = |name: &str| {
        peak_memory(
            d,
            &format!(
                "tokenize --data-dir {name}.txt --tokenizer {name}.json --train-vocab 300 --output {name}.tokens"
            ),
        )
    };
    let (small, large) = (train("small"), train("large"));
    assert!(large < small + 14.0, "{small} MB, {large} MB");
    let same = |name: &str| std::fs::read(d.join(name)).unwrap();
    assert!(
        same("small.json") == same("large.json"),
        "repeating a text changes no merge"
    );
}

#[test]
fn jsonl_and_folders_of_folders_are_tokenized() {
    let dir = workplace();
    let d = dir.path();
    std::fs::create_dir_all(d.join("texts/part/deep")).unwrap();
    std::fs::write(
        d.join("texts/a.jsonl"),
        "{\"text\": \"The cat.\"}\n{\"text\": \"A dog.\", \"n\": 2}\n",
    )
    .unwrap();
    std::fs::write(d.join("texts/part/deep/b.txt"), "The fox.").unwrap();
    line(
        d,
        "tokenize --data-dir texts --tokenizer tok.json --out-dir made",
    )
    .ok();
    line(
        d,
        "tokenize --data-dir texts --tokenizer tok.json --output all.tokens",
    )
    .ok();
    let ids = |name: &str| std::fs::read(d.join(name)).unwrap()[64..].to_vec();
    let (a, b) = (ids("made/a.tokens"), ids("made/part/deep/b.tokens"));
    assert_eq!(ids("all.tokens"), [&a[..], &b[..]].concat());
    // <|endoftext|> is the first token of tokenizers trained here: twice in a, not in b.
    let ends = |ids: &[u8]| ids.chunks(2).filter(|c| *c == [0, 0]).count();
    assert_eq!((ends(&a), ends(&b)), (2, 0));
    std::fs::write(d.join("texts/bad.jsonl"), "{\"text\": \"The cat.\"}\n[1]\n").unwrap();
    line(
        d,
        "tokenize --data-dir texts --tokenizer tok.json --output no.tokens",
    )
    .fails(&["bad.jsonl", "line 2", "\"text\" field"]);
    assert!(!d.join("no.tokens").exists() && !d.join("no.tokens.part").exists());
}

#[test]
fn streamed_texts_are_resumed_bit_for_bit() {
    let dir = workplace();
    let d = dir.path();
    std::fs::create_dir(d.join("texts")).unwrap();
    for (i, name) in ["a.txt", "b.txt", "c.txt"].iter().enumerate() {
        std::fs::write(d.join("texts").join(name), sentences(90_000, i as u64)).unwrap();
    }
    let flags = "--data-dir texts --streaming --shuffle-buffer 100 --max-steps 24 --save-every 5 --log-every 1 \
                 --keep-last 9 --batch-size 7 --lr-decay constant";
    let train = |out: &str, more: &str| line(d, &format!("{TRAIN} {out} {flags} {more}"));
    let out = train("straight", "").ok().stderr;
    assert!(out.contains("3 files") && out.contains("streamed"), "{out}");
    let straight = metrics(&d.join("straight"));
    assert!(straight[23]["train_loss"].as_f64() < straight[0]["train_loss"].as_f64());
    for step in [5, 10, 15, 20] {
        let (run, folder) = (format!("from{step}"), format!("step-{step:07}"));
        crate::common::copy_dir(
            &d.join("straight").join(&folder),
            &d.join(&run).join(&folder),
        );
        train(&run, "--resume").ok();
        let resumed = metrics(&d.join(&run));
        for (a, b) in straight[step..].iter().zip(&resumed) {
            assert_eq!(
                (&a["step"], &a["train_loss"]),
                (&b["step"], &b["train_loss"])
            );
        }
        let model =
            |run: &str| std::fs::read(newest(&d.join(run)).join("model.safetensors")).unwrap();
        assert!(model("straight") == model(&run), "after a stop at {step}");
        let place = |run: &str| state(&newest(&d.join(run)))["place"].clone();
        assert_eq!(place("straight"), place(&run));
    }
    // Other texts, and a checkpoint that was not streamed.
    std::fs::write(d.join("texts/c.txt"), "other").unwrap();
    train("straight", "--resume").fails(&["training data differs"]);
    line(d, &format!("{TRAIN} x --data-dir tokens --streaming")).fails(&["no text files"]);
    line(d, &format!("{TRAIN} x --data-dir texts --shuffle-buffer 5")).fails(&["--streaming"]);
}
