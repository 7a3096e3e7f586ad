//! `onebit finetune` and `onebit merge`; learning from a teacher.

use std::path::Path;

use serde_json::Value;
use ternary::format::FileSource;
use ternary::format::OneBit;
use ternary::params;
use ternary::quant::quantize;
use ternary::train::checkpoint::read_safetensors;

use crate::common::{Output, copy_dir, fixture, line, metrics, newest, sentences, workplace};

/// F16 embedding and head, against the checkpoint's f32.
const F16_ROUNDING: f64 = 2e-3;

/// A matrix unit multiplies weights that it knows to be codes exactly, others rounded.
const SUMS: f64 = 1e-4;

/// A place with the fixture's model and a text unlike the one it knows.
fn place() -> tempfile::TempDir {
    let dir = workplace();
    let d = dir.path();
    std::fs::copy(fixture().join("model.1bit"), d.join("model.1bit")).unwrap();
    std::fs::write(d.join("new.txt"), sentences(60_000, 7).to_uppercase()).unwrap();
    std::fs::write(d.join("new-valid.txt"), sentences(4_000, 8).to_uppercase()).unwrap();
    dir
}

fn finetune(d: &Path, model: &str, out: &str, flags: &str) -> Output {
    line(
        d,
        &format!(
            "finetune --model {model} --data-dir new.txt --output-dir {out} --device cpu --batch-size 4 --set seq_len=32 {flags}"
        ),
    )
}

const LORA: &str = "--mode lora --lr 5e-3 --max-steps 40 --log-every 1";

fn figure(lines: &[Value], key: &str) -> f64 {
    lines.last().unwrap()[key].as_f64().unwrap()
}

/// Nats per token.
fn loss(d: &Path, model: &str, more: &str) -> f64 {
    let command = format!("eval --model {model} --data new-valid.txt --device cpu --json {more}");
    line(d, &command).ok().json()["loss"].as_f64().unwrap()
}

/// Codes of every quantized matrix of a `.1bit`.
fn codes(file: &Path) -> Vec<(String, Vec<i8>)> {
    let source = FileSource::open(file).unwrap();
    let file = pollster::block_on(OneBit::open(&source)).unwrap();
    let latents = pollster::block_on(file.latents(&source)).unwrap();
    let matrices = params::all(&file.metadata.config).into_iter();
    matrices
        .filter_map(|p| match p.kind {
            params::ParamKind::Matrix(m) if m.mode.is_quantized() => {
                let q = quantize(&latents[&m.name], m.rows, m.cols, &m.quant);
                Some((m.name, q.codes))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn fine_tuning_begins_where_the_model_ended() {
    let dir = place();
    let d = dir.path();
    let start = |model: &str, out: &str, mode: &str| {
        let flags = format!(
            "--lr 0 --max-steps 1 --val-data-dir valid.txt --set eval_batches=2 --batch-size 8 {mode}"
        );
        let command = format!(
            "finetune --model {model} --data-dir tokens --output-dir {out} --device cpu {flags}"
        );
        line(d, &command).ok();
        figure(&metrics(&d.join(out)), "val_loss")
    };
    let ended = figure(&metrics(&fixture().join("run")), "val_loss");
    let run = fixture().join("run");
    let run = run.to_str().unwrap();
    assert_eq!(start(run, "a", ""), ended);
    assert!((start(run, "b", "--mode lora") - ended).abs() < SUMS);
    for (out, mode) in [("c", ""), ("d", "--mode lora")] {
        let found = start("model.1bit", out, mode);
        assert!((found - ended).abs() < F16_ROUNDING, "{found} {ended}");
    }
    // What came from a .1bit exports to the same codes.
    line(d, "export --model-dir c --output again.1bit").ok();
    assert!(codes(&d.join("again.1bit")) == codes(&d.join("model.1bit")));
}

#[test]
fn full_fine_tuning_learns_a_new_text() {
    let dir = place();
    let d = dir.path();
    let before = loss(d, "model.1bit", "");
    let flags = "--max-steps 40 --lr 3e-3 --val-data-dir new-valid.txt --chat-template chat.jinja";
    finetune(d, "model.1bit", "out", flags).ok();
    let after = loss(d, "out/best", "");
    assert!(after < before - 1.0, "{before} {after}");
    // A run like any other: its settings are those of a fine-tuning.
    let train = &crate::common::state(&newest(&d.join("out")))["train"];
    assert_eq!(train["weight_decay"], 0.0);
    assert_eq!(train["lr_warmup_steps"], 1);
    line(
        d,
        "generate --model out --prompt THE --max-tokens 4 --device cpu",
    )
    .ok();
    // Its sizes are the model's.
    finetune(d, "model.1bit", "other", "--set hidden_size=64").fails(&["hidden_size", "48"]);
}

#[test]
fn an_adapter_learns_beside_its_base_and_merges_into_it() {
    let dir = place();
    let d = dir.path();
    let before = loss(d, "model.1bit", "");
    let model = std::fs::read(d.join("model.1bit")).unwrap();
    finetune(d, "model.1bit", "lora", LORA).ok();
    assert!(model == std::fs::read(d.join("model.1bit")).unwrap());
    let folder = newest(&d.join("lora"));
    assert!(!folder.join("model.safetensors").exists());
    let tensors = read_safetensors(&folder.join("adapter_model.safetensors")).unwrap();
    assert_eq!(tensors.len(), 2 * 7 * 2);
    let shape = |end: &str| {
        let name = format!("base_model.model.model.layers.1.self_attn.k_proj.{end}.weight");
        tensors[&name].0.clone()
    };
    assert_eq!(
        (shape("lora_A"), shape("lora_B")),
        (vec![8, 48], vec![24, 8])
    );

    let unmerged = loss(d, "model.1bit", "--adapter lora");
    assert!(unmerged < before - 0.5, "{before} {unmerged}");
    let text = |more: &str| {
        let command = format!(
            "generate --model model.1bit --prompt T --temperature 0 --max-tokens 16 --json --device cpu {more}"
        );
        line(d, &command).ok().json()["text"].clone()
    };
    assert_ne!(text(""), text("--adapter lora"));

    let merge = "merge --model model.1bit --adapter lora --output merged.1bit --device cpu --json --data new-valid.txt";
    let report = line(d, merge).ok().json();
    assert_eq!(report["losses"]["before"], before);
    assert_eq!(report["losses"]["unmerged"], unmerged);
    assert_eq!(report["losses"]["merged"], loss(d, "merged.1bit", ""));
    let (was, is) = (codes(&d.join("model.1bit")), codes(&d.join("merged.1bit")));
    let mut all = 0;
    for matrix in report["matrices"].as_array().unwrap() {
        let of = |codes: &[(String, Vec<i8>)]| {
            let found = codes.iter().find(|(name, _)| matrix["name"] == **name);
            found.unwrap().1.clone()
        };
        let changed = of(&was)
            .iter()
            .zip(of(&is))
            .filter(|(a, b)| **a != *b)
            .count();
        assert_eq!(matrix["changed"], changed, "{matrix}");
        all += changed;
    }
    assert!(all > 0, "nothing was merged");
    // A folder holds the same model.
    line(
        d,
        "merge --model model.1bit --adapter lora --output merged --device cpu",
    )
    .ok();
    let folder = loss(d, "merged", "");
    assert!((folder - loss(d, "merged.1bit", "")).abs() < 1e-6);
    line(d, "merge --model model.1bit --adapter lora --output merged").fails(&["merged exists"]);
}

#[test]
fn merging_into_a_float_model_loses_nothing() {
    let dir = place();
    let d = dir.path();
    let map = r#"{"embedding":"f16","layer_modes":["f16","f16"],"lm_head":"f16"}"#;
    let train = format!(
        "train --config config.json --data-dir tokens --tokenizer tok.json --output-dir float --device cpu --max-steps 20 --set layer_bit_map={map}"
    );
    line(d, &train).ok();
    finetune(d, "float", "lora", LORA).ok();
    let merge = "merge --model float --adapter lora --output merged.1bit --device cpu --json --data new-valid.txt";
    let losses = &line(d, merge).ok().json()["losses"];
    let of = |key: &str| losses[key].as_f64().unwrap();
    assert!(of("unmerged") < of("before") - 0.5, "{losses}");
    assert!(
        (of("merged") - of("unmerged")).abs() < F16_ROUNDING,
        "{losses}"
    );
    // The adapter belongs to this base, and to no other.
    line(
        d,
        "eval --model model.1bit --adapter lora --data valid.txt --device cpu",
    )
    .fails(&["another model", "float"]);
    line(
        d,
        "merge --model model.1bit --adapter lora --output other.1bit",
    )
    .fails(&["another model"]);
    line(d, "eval --model lora --data valid.txt --device cpu")
        .fails(&["is an adapter", "--adapter"]);
    line(d, "eval --model float --adapter float --data valid.txt").fails(&["not an adapter"]);
}

#[test]
fn impossible_adapters_are_refused() {
    let dir = place();
    let d = dir.path();
    for (flags, words) in [
        ("--lora-rank 0", ["rank is 0", "between 1 and 24"]),
        ("--lora-rank 25", ["rank is 25", "between 1 and 24"]),
        ("--lora-alpha 0", ["alpha is 0", "above 0"]),
        ("--lora-targets q,x", ["`x`", "q, k, v, o, gate, up, down"]),
        (
            "--lora-targets ,",
            ["targets", "q, k, v, o, gate, up, down"],
        ),
        ("--stats-every 5", ["stats_every", "adapters"]),
    ] {
        finetune(d, "model.1bit", "out", &format!("--mode lora {flags}")).fails(&words);
    }
    finetune(d, "nowhere", "out", "").fails(&["nowhere"]);
    assert!(!d.join("out").exists());
}

#[test]
fn adapters_resume_bit_for_bit() {
    let dir = place();
    let d = dir.path();
    let flags = "--mode lora --lora-targets q,v --max-steps 8 --save-every 4 --log-every 1 --val-data-dir new-valid.txt";
    finetune(d, "model.1bit", "straight", flags).ok();
    copy_dir(
        &d.join("straight/step-0000004"),
        &d.join("resumed/step-0000004"),
    );
    finetune(d, "model.1bit", "resumed", &format!("{flags} --resume")).ok();
    for file in ["adapter_model.safetensors", "optimizer.safetensors"] {
        let bytes = |run: &str| std::fs::read(newest(&d.join(run)).join(file)).unwrap();
        assert!(bytes("straight") == bytes("resumed"), "{file} differs");
    }
    let other = format!("{flags} --lora-rank 4 --resume");
    finetune(d, "model.1bit", "resumed", &other).fails(&["rank 8"]);
}

/// Codes turn from the first tens of steps on, at the rate that it takes by itself; and the latents
/// drawn for a `.1bit` are the seed's, whatever the threads and the interruptions.
#[test]
fn matrices_learn_at_once_and_resume_bit_for_bit() {
    let dir = place();
    let d = dir.path();
    let flags = "--max-steps 20 --save-every 10 --log-every 1 --stats-every 10 --val-data-dir new-valid.txt";
    finetune(d, "model.1bit", "straight", &format!("{flags} --threads 1")).ok();
    let text = std::fs::read_to_string(d.join("straight/layers.jsonl")).unwrap();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let all = line["matrices"].as_array().unwrap().iter();
        let flips: Vec<f64> = all.filter_map(|m| m["flips_per_step"].as_f64()).collect();
        assert!(flips.len() > 10 && flips.iter().all(|f| *f > 0.0), "{line}");
    }
    copy_dir(
        &d.join("straight/step-0000010"),
        &d.join("resumed/step-0000010"),
    );
    let resume = format!("{flags} --threads 2 --resume");
    finetune(d, "model.1bit", "resumed", &resume).ok();
    finetune(
        d,
        "model.1bit",
        "other",
        &format!("{flags} --seed 2 --lr 0"),
    )
    .ok();
    let weights = |run: &str, file: &str| std::fs::read(newest(&d.join(run)).join(file)).unwrap();
    for file in ["model.safetensors", "optimizer.safetensors"] {
        assert!(
            weights("straight", file) == weights("resumed", file),
            "{file} differs"
        );
    }
    finetune(d, "model.1bit", "still", &format!("{flags} --lr 0")).ok();
    let file = "model.safetensors";
    assert!(weights("still", file) != weights("other", file));
}

/// Of conversations the assistant's words are learnt, or all of them if that is asked for.
#[test]
fn conversations_teach_the_assistants_words() {
    let dir = place();
    let d = dir.path();
    let talk: String = (0..200)
        .map(|i| {
            let said = sentences(60, i).to_uppercase();
            let turns = serde_json::json!([
                {"role": "user", "content": sentences(90, i + 500)},
                {"role": "assistant", "content": said},
            ]);
            serde_json::json!({ "messages": turns }).to_string() + "\n"
        })
        .collect();
    std::fs::write(d.join("talk.jsonl"), talk).unwrap();
    let run = |out: &str, flags: &str| {
        let command = format!(
            "finetune --model model.1bit --data-dir talk.jsonl --val-data-dir talk.jsonl --output-dir {out} \
             --chat-template chat.jinja --device cpu --batch-size 4 --set seq_len=32 --set eval_batches=100 {flags}"
        );
        line(d, &command)
    };
    let before = |out: &str, flags: &str| {
        run(out, &format!("--lr 0 --max-steps 1 {flags}")).ok();
        figure(&metrics(&d.join(out)), "val_loss")
    };
    let (assistant, all) = (before("a", ""), before("b", "--train-on all"));
    // It knows the user's words, and not the assistant's in capitals.
    assert!(assistant > all + 0.3, "{assistant} {all}");
    run("c", "--lr 3e-3 --max-steps 30").ok();
    let after = figure(&metrics(&d.join("c")), "val_loss");
    assert!(after < assistant - 1.0, "{assistant} {after}");
    run("d", "--streaming --shuffle-buffer 64 --max-steps 2").ok();
    // What is learnt from is part of the data.
    run("c", "--lr 3e-3 --max-steps 40 --resume --train-on all").fails(&["data"]);
}

/// An answer that is labelled as bad is none to learn from, and a pair is what preferences are
/// learnt from.
#[test]
fn answers_labelled_as_bad_are_not_learnt() {
    let dir = place();
    let d = dir.path();
    let row = |i: u64, label: Value| {
        let (asked, said) = (sentences(90, i + 500), sentences(60, i));
        serde_json::json!({"prompt": asked, "completion": said, "label": label}).to_string() + "\n"
    };
    let good: String = (0..60).map(|i| row(i, true.into())).collect();
    let bad: String = (60..80)
        .map(|i| {
            row(
                i,
                [Value::from(false), 0.into(), "false".into()][i as usize % 3].clone(),
            )
        })
        .collect();
    std::fs::write(d.join("good.jsonl"), &good).unwrap();
    std::fs::write(d.join("mixed.jsonl"), format!("{good}{bad}")).unwrap();
    std::fs::write(d.join("one.jsonl"), good.clone() + &row(99, false.into())).unwrap();
    std::fs::write(d.join("bad.jsonl"), &bad).unwrap();
    let run = |data: &str, flags: &str| {
        let out = format!("{data}-{}", flags.len());
        let command = format!(
            "finetune --model model.1bit --data-dir {data}.jsonl --output-dir {out} --chat-template chat.jinja --device cpu \
             --batch-size 2 --set seq_len=32 --max-steps 2 {flags}"
        );
        (line(d, &command), out)
    };
    let (plain, straight) = run("good", "");
    assert!(!plain.ok().stderr.contains("labelled as bad"));
    let (mixed, other) = run("mixed", "");
    let said = mixed.ok().stderr;
    assert!(
        said.contains("20 answers labelled as bad") && said.contains("line 61"),
        "{said}"
    );
    let model = |out: &str| std::fs::read(newest(&d.join(out)).join("model.safetensors")).unwrap();
    assert!(model(&straight) == model(&other));
    let (one, _) = run("one", "");
    let said = one.ok().stderr;
    assert!(
        said.contains("1 answer labelled as bad") && said.contains("line 61"),
        "{said}"
    );
    run("mixed", "--streaming --shuffle-buffer 8").0.ok();
    run("bad", "")
        .0
        .fails(&["0 tokens", "20 answers labelled as bad"]);
    for data in ["mixed", "bad"] {
        let (refused, _) = run(data, "--preference dpo");
        refused.fails(&["labelled answers", "\"chosen\"", "leave --preference out"]);
    }
    let shown = line(
        d,
        "data mixed.jsonl --model model.1bit --chat-template chat.jinja",
    )
    .ok();
    assert!(
        shown.stdout.contains("1 file, 60 documents"),
        "{}",
        shown.stdout
    );
    assert!(
        shown
            .stdout
            .contains("labelled answers (prompt, completion, label)")
    );
    assert!(
        shown.stderr.contains("20 answers labelled as bad"),
        "{}",
        shown.stderr
    );
}

/// Where nothing is learnt, the flag that learns it all is named.
#[test]
fn data_without_an_answer_names_the_flag_that_learns_it() {
    let dir = place();
    let d = dir.path();
    let turns = serde_json::json!([{"role": "user", "content": sentences(900, 1)}]);
    let talk = serde_json::json!({ "messages": turns }).to_string() + "\n";
    std::fs::write(d.join("talk.jsonl"), talk.repeat(3)).unwrap();
    // What is streamed ends the run when all of it was seen.
    for more in [
        "--max-steps 1",
        "--max-steps 1000 --streaming --shuffle-buffer 4",
    ] {
        line(
            d,
            &format!(
                "finetune --model model.1bit --data-dir talk.jsonl --output-dir out --chat-template chat.jinja --device cpu \
                 --batch-size 1 --set seq_len=16 {more}"
            ),
        )
        .fails(&["--train-on all"]);
    }
}

/// Conversations of a packed sequence do not see each other, and runs go on as they began.
#[test]
fn conversations_are_kept_apart_and_resume_bit_for_bit() {
    let dir = place();
    let d = dir.path();
    let talk: String = (0..200)
        .map(|i| {
            let turns = serde_json::json!([
                {"role": "user", "content": sentences(30, i + 500)},
                {"role": "assistant", "content": sentences(30, i).to_uppercase()},
            ]);
            serde_json::json!({ "messages": turns }).to_string() + "\n"
        })
        .collect();
    std::fs::write(d.join("talk.jsonl"), talk).unwrap();
    let run = |out: &str, flags: &str| {
        let command = format!(
            "finetune --model model.1bit --data-dir talk.jsonl --val-data-dir talk.jsonl --output-dir {out} \
             --chat-template chat.jinja --device cpu --batch-size 4 --log-every 1 --max-steps 8 --save-every 4 {flags}"
        );
        line(d, &command).ok()
    };
    let loss = |out: &str| figure(&metrics(&d.join(out)), "val_loss");
    let packing =
        |out: &str| crate::common::state(&newest(&d.join(out)))["train"]["packing"].clone();
    run("apart", "--threads 1");
    run("asked", "--packing documents --threads 2");
    run("whole", "--packing whole");
    let streamed = "--streaming --shuffle-buffer 64";
    run("streamed", streamed);
    assert_eq!(packing("apart"), "documents");
    assert_eq!(packing("streamed"), "documents");
    assert_eq!(packing("whole"), "whole");
    assert_eq!(loss("apart"), loss("asked"));
    assert_ne!(loss("apart"), loss("whole"));
    let weights = |run: &str, file: &str| std::fs::read(newest(&d.join(run)).join(file)).unwrap();
    for (from, flags) in [("apart", ""), ("whole", ""), ("streamed", streamed)] {
        let (from_step, to) = (format!("{from}/step-0000004"), format!("{from}-resumed"));
        copy_dir(&d.join(&from_step), &d.join(&to).join("step-0000004"));
        // Without --packing a run goes on as it was.
        let said = run(&to, &format!("--resume {flags}")).stderr;
        assert!(!said.contains("other settings"), "{said}");
        for file in ["model.safetensors", "optimizer.safetensors"] {
            assert!(weights(from, file) == weights(&to, file), "{file} of {to}");
        }
    }
    // A run from before there was a choice was packed whole, and stays so.
    copy_dir(&d.join("whole/step-0000004"), &d.join("old/step-0000004"));
    let state = d.join("old/step-0000004/train_state.json");
    let mut old: Value = serde_json::from_str(&std::fs::read_to_string(&state).unwrap()).unwrap();
    let train = old["train"].as_object_mut().unwrap();
    for field in ["packing", "preference", "preference_beta"] {
        train.remove(field).unwrap();
    }
    std::fs::write(&state, old.to_string()).unwrap();
    run("old", "--resume");
    assert!(weights("old", "model.safetensors") == weights("whole", "model.safetensors"));
    // Plain texts are packed whole unless asked otherwise.
    finetune(d, "model.1bit", "text", "--max-steps 1").ok();
    assert_eq!(packing("text"), "whole");
    finetune(d, "model.1bit", "text", "--packing one").fails(&["one", "whole or documents"]);
}

#[test]
fn a_student_follows_its_teacher() {
    let dir = place();
    let d = dir.path();
    let train = |out: &str, flags: &str| {
        let command = format!(
            "train --config config.json --data-dir tokens --tokenizer tok.json --device cpu --log-every 1 --output-dir {out} {flags}"
        );
        line(d, &command).ok();
        metrics(&d.join(out))
    };
    let map = r#"{"embedding":"f16","layer_modes":["f16","f16","f16"],"lm_head":"f16"}"#;
    train(
        "float",
        &format!("--max-steps 100 --set num_layers=3 --set layer_bit_map={map}"),
    );
    let steps = "--max-steps 60";
    let plain = train("plain", steps);
    let student = |out: &str, flags: &str| train(out, &format!("{steps} --teacher float {flags}"));
    let ignored = student("ignored", "--distill-weight 0 --distill-temperature 1");
    let followed = student("followed", "--distill-weight 1 --distill-temperature 1");
    let softer = student("softer", "--distill-weight 1 --distill-temperature 3");
    // With a weight of 0 the teacher is only measured against.
    for (a, b) in plain.iter().zip(&ignored) {
        assert_eq!(a["train_loss"], b["train_loss"]);
        assert!(a.get("kl").is_none() && b["kl"].is_f64());
    }
    let (with, without) = (figure(&followed, "kl"), figure(&ignored, "kl"));
    assert!(with < 0.9 * without, "{with} {without}");
    assert_ne!(
        figure(&softer, "train_loss"),
        figure(&followed, "train_loss")
    );

    line(
        d,
        "tokenize --data-dir valid.txt --tokenizer other.json --train-vocab 290 --output other.tokens",
    )
    .ok();
    let other = "train --config config.json --data-dir other.tokens --tokenizer other.json --device cpu --max-steps 1 --batch-size 1 --set seq_len=16 --output-dir other";
    line(d, other).ok();
    finetune(d, "model.1bit", "out", "--teacher other").fails(&["--teacher other", "other tokens"]);
    finetune(d, "model.1bit", "out", "--distill-weight 0.5").fails(&["--teacher"]);
    finetune(d, "model.1bit", "out", "--teacher float --distill-weight 2")
        .fails(&["distill_weight is 2"]);
}
