//! Files of other programs read here, and ours read there. Each test needs a Python with their
//! packages (`ONEBIT_PYTHON`, by default `python3`) and says so where it is missing.

use std::path::Path;
use std::process::Command;

use safetensors::SafeTensors;
use ternary::format::{FileSource, OneBit};
use ternary::tokenizer::Tokenizer;

use crate::common::{line, metrics, run, workplace};

const PROMPT: &str = "1,2,3,4,5,77,200";
const VOCAB: usize = 300;
/// Greedy tokens compared.
const TOKENS: usize = 12;
/// Share of the logits' deviation by which another token may come first there: llama.cpp rounds
/// activations in blocks of 32 or 256.
const NEAR_TIE: f32 = 0.15;

fn python() -> String {
    std::env::var("ONEBIT_PYTHON").unwrap_or_else(|_| "python3".into())
}

/// Whether Python has the packages; says so if not.
fn has(packages: &str) -> bool {
    let out = Command::new(python())
        .args(["-c", &format!("import {packages}")])
        .output();
    let there = out.is_ok_and(|o| o.status.success());
    if !there {
        eprintln!(
            "SKIPPED: {} has no {packages}; set ONEBIT_PYTHON to one that has",
            python()
        );
    }
    there
}

fn script(dir: &Path, name: &str, args: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python")
        .join(name);
    let out = Command::new(python())
        .arg(path)
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

/// llama.cpp's greedy tokens after the prompt.
fn llama(dir: &Path, model: &str) -> Vec<u32> {
    let out = script(
        dir,
        "llama_greedy.py",
        &[model, PROMPT, &TOKENS.to_string()],
    );
    let last = out.lines().rfind(|l| l.starts_with('[')).unwrap();
    serde_json::from_str(last).unwrap()
}

fn read_logits(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data = file.tensor("logits").unwrap().data().to_vec();
    data.as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect()
}

/// Our logits of the prompt and `more`.
fn logits(dir: &Path, model: &str, more: &[u32]) -> Vec<f32> {
    let ids = more
        .iter()
        .fold(PROMPT.to_owned(), |ids, id| format!("{ids},{id}"));
    let args = [
        "logits",
        "--model",
        model,
        "--ids",
        &ids,
        "--output",
        "logits.safetensors",
        "--device",
        "cpu",
    ];
    run(dir, &args).ok();
    read_logits(&dir.join("logits.safetensors"))
}

/// Each of their tokens must come first here too, or almost.
fn agree(dir: &Path, model: &str, theirs: &[u32]) {
    assert_eq!(theirs.len(), TOKENS);
    let all = logits(dir, model, theirs);
    let rows: Vec<&[f32]> = all.chunks_exact(VOCAB).collect();
    let prompt = PROMPT.split(',').count();
    let mut same = 0;
    for (row, id) in rows[prompt - 1..].iter().zip(theirs) {
        let most = row.iter().fold(f32::MIN, |m, v| m.max(*v));
        let mean = row.iter().sum::<f32>() / VOCAB as f32;
        let deviation = (row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / VOCAB as f32).sqrt();
        let behind = (most - row[*id as usize]) / deviation;
        assert!(
            behind <= NEAR_TIE,
            "{model}: token {id} is {behind} deviations behind"
        );
        same += usize::from(behind == 0.0);
    }
    eprintln!("{model}: {same} of {TOKENS} tokens the same, the others near-ties");
    assert!(same * 3 >= TOKENS * 2);
}

#[test]
fn files_of_the_gguf_package_give_llama_cpps_tokens() {
    if !has("gguf, xllamacpp") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for architecture in ["llama", "bitnet", "qwen3"] {
        for kind in ["tq2_0", "tq1_0", "q8_0", "f16"] {
            let name = format!("{architecture}-{kind}");
            script(
                d,
                "make_gguf.py",
                &[&format!("{name}.gguf"), architecture, kind],
            );
            line(
                d,
                &format!("import --input {name}.gguf --output {name}.1bit"),
            )
            .ok();
            let theirs = llama(d, &format!("{name}.gguf"));
            agree(d, &format!("{name}.1bit"), &theirs);
            // And our file of it there.
            let back = if kind == "tq1_0" {
                "--gguf-type tq1_0"
            } else {
                ""
            };
            line(
                d,
                &format!(
                    "export --model {name}.1bit --format gguf --output {name}-back.gguf {back}"
                ),
            )
            .ok();
            let again = llama(d, &format!("{name}-back.gguf"));
            if kind == "q8_0" {
                // It is F16 by now, which llama.cpp multiplies otherwise.
                agree(d, &format!("{name}.1bit"), &again);
            } else {
                assert_eq!(again, theirs, "{name}");
            }
        }
    }
}

/// The program that quantizes files, of the package that brings it.
fn quantizer() -> Option<String> {
    if !has("ik_llama_cpp") {
        return None;
    }
    let find = "import ik_llama_cpp, pathlib; print(pathlib.Path(ik_llama_cpp.__file__).parent / 'bin/llama-quantize')";
    let out = Command::new(python()).args(["-c", find]).output().unwrap();
    let path = String::from_utf8(out.stdout).unwrap();
    Some(path.lines().last()?.to_owned())
}

#[test]
fn quantized_files_give_llama_cpps_tokens() {
    if !has("gguf, xllamacpp") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // Embedding and head as llama.cpp's quantizer makes them beside ternary matrices; low-bit ones.
    for (i, ends) in [["q4_k", "q6_k"], ["tq2_0", "q6_k"], ["tq2_0", "tq2_0"]]
        .iter()
        .enumerate()
    {
        let file = format!("ends-{i}.gguf");
        script(
            d,
            "make_gguf.py",
            &[&file, "llama", "tq2_0", ends[0], ends[1]],
        );
        line(d, &format!("import --input {file} --output m.1bit")).ok();
        agree(d, "m.1bit", &llama(d, &file));
    }
    let Some(quantizer) = quantizer() else {
        return;
    };
    script(d, "make_gguf.py", &["plain.gguf", "llama", "f32"]);
    for kind in [
        "Q4_K_M", "Q2_K", "Q3_K_S", "Q5_K_M", "Q5_0", "Q5_1", "IQ4_XS", "IQ4_NL",
    ] {
        let file = format!("{kind}.gguf");
        // This quantizer mixes types of its own among these.
        let pure: &[&str] = if kind.starts_with("IQ") {
            &["--pure"]
        } else {
            &[]
        };
        let out = Command::new(&quantizer)
            .args(pure)
            .args(["plain.gguf", &file, kind, "1"])
            .current_dir(d)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        line(d, &format!("import --input {file} --output {kind}.1bit")).ok();
        agree(d, &format!("{kind}.1bit"), &llama(d, &file));
    }
}

/// Pre-tokenizers and vocabularies that are compared with llama.cpp's, one of each way and the
/// names that models in wide use have.
const VOCABULARIES: [&str; 33] = [
    "gpt-2",
    "phi-2",
    "olmo",
    "granite-docling",
    "llama-bpe",
    "falcon3",
    "dbrx",
    "smaug-bpe",
    "glm4",
    "qwen2",
    "stablelm2",
    "deepseek-r1-qwen",
    "megrez",
    "qwen35",
    "smollm",
    "starcoder",
    "refact",
    "command-r",
    "exaone",
    "tekken",
    "gpt-4o",
    "llama4",
    "bailingmoe",
    "seed-coder",
    "exaone-moe",
    "minicpm5",
    "viking",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "default",
    "sp",
    "sp-plain",
];

/// llama.cpp's patterns for these leave out the marks of scripts, and wide spaces; ours are those
/// of the models' own tokenizer.json. The texts are those at these places.
const SIMPLIFIED: (&[&str], [usize; 2]) = (
    &[
        "tekken",
        "gpt-4o",
        "llama4",
        "deepseek-llm",
        "deepseek-coder",
    ],
    [6, 10],
);

#[test]
fn texts_become_llama_cpps_tokens() {
    if !has("gguf, numpy, sentencepiece, tokenizers, xllamacpp") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let out = script(d, "llama_vocab.py", &[".", &VOCABULARIES.join(",")]);
    let found = out.lines().rfind(|l| l.starts_with('{')).unwrap();
    let found: serde_json::Value = serde_json::from_str(found).unwrap();
    let texts: Vec<String> = serde_json::from_value(found["texts"].clone()).unwrap();
    let all = &found["ids"];
    // The vocabulary shows where words are cut.
    assert_ne!(all["gpt-2"], all["qwen2"]);
    assert_ne!(all["qwen2"], all["qwen35"]);
    assert_ne!(all["sp"], all["sp-plain"]);
    for name in VOCABULARIES {
        line(
            d,
            &format!("import --input {name}.gguf --output {name}.1bit"),
        )
        .ok();
        let source = FileSource::open(&d.join(format!("{name}.1bit"))).unwrap();
        let file = pollster::block_on(OneBit::open(&source)).unwrap();
        let tokenizer = Tokenizer::from_json(&file.metadata.tokenizer.unwrap()).unwrap();
        for (i, text) in texts.iter().enumerate() {
            let theirs: Vec<u32> = serde_json::from_value(all[name][i].clone()).unwrap();
            let simplified = SIMPLIFIED.0.contains(&name) && SIMPLIFIED.1.contains(&i);
            if !simplified {
                assert_eq!(tokenizer.encode(text).unwrap(), theirs, "{name}: {text:?}");
            }
        }
    }
}

#[test]
fn our_folders_give_the_same_logits_in_transformers() {
    if !has("torch, transformers") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/hf");
    for name in ["bitnet-packed", "llama-packed-inverse-scale"] {
        let input = fixtures.join(name).display().to_string();
        run(d, &["import", "--input", &input, "--output", "m.1bit"]).ok();
        line(
            d,
            &format!("export --model m.1bit --format hf --output {name}"),
        )
        .ok();
        script(
            d,
            "transformers_logits.py",
            &[name, PROMPT, "theirs.safetensors"],
        );
        let theirs = read_logits(&d.join("theirs.safetensors"));
        let ours = logits(d, "m.1bit", &[]);
        let square = |v: f32| f64::from(v) * f64::from(v);
        let size: f64 = theirs.iter().map(|v| square(*v)).sum();
        let error: f64 = ours.iter().zip(&theirs).map(|(a, b)| square(a - b)).sum();
        assert_eq!(ours.len(), theirs.len());
        assert!(
            size > 1.0 && (error / size).sqrt() < 2e-3,
            "{name}: {}",
            (error / size).sqrt()
        );
    }
}

/// Every decoder, out and into transformers and llama.cpp.
#[test]
fn models_of_every_decoder_are_read_by_other_programs() {
    if !has("torch, transformers, xllamacpp") {
        return;
    }
    // llama.cpp rounds keys and values to F16, and has GELU in a table.
    const LLAMA: f64 = 2e-2;
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/fixtures/zoo");
    // A text for every id, so that llama.cpp's server tells each.
    let vocabulary: serde_json::Map<_, _> = (0..96)
        .map(|i| (format!("w{i}"), serde_json::json!(i)))
        .collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": [],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    std::fs::create_dir_all(d.join("hf")).unwrap();
    std::fs::create_dir_all(d.join("gguf")).unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(&zoo).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let m = d.join("m");
        std::fs::create_dir_all(&m).unwrap();
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(path.join(file), m.join(file)).unwrap();
        }
        std::fs::write(m.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        line(d, "import --input m --output m.1bit --head f32 --body f32").ok();
        line(
            d,
            &format!("export --model m.1bit --format hf --output hf/{name}"),
        )
        .ok();
        // What GGUF cannot say is refused, and what llama.cpp does not heed is told of.
        let gguf = format!("export --model m.1bit --format gguf --output gguf/{name}.gguf");
        let written = line(d, &gguf);
        match name.as_str() {
            "qwen2-window" => drop(written.fails(&["sliding_window"])),
            "smollm3" => drop(written.fails(&["layers_without_rope"])),
            _ => drop(written.ok()),
        }
        count += 1;
    }
    let out = script(d, "zoo_exports.py", &[&zoo.display().to_string(), "."]);
    let found: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let (hf, gguf) = (
        found["hf"].as_object().unwrap(),
        found["gguf"].as_object().unwrap(),
    );
    assert_eq!((hf.len(), gguf.len()), (count, count - 2));
    for (name, error) in hf {
        assert!(error.as_f64().is_some_and(|e| e <= 1e-5), "{name}: {error}");
    }
    for (name, error) in gguf.iter().filter(|(name, _)| *name != "mistral-window") {
        assert!(
            error.as_f64().is_some_and(|e| e <= LLAMA),
            "{name}: {error}"
        );
    }
}

/// A model made here needs nothing beside its file there: vocabulary, template and the tokens that
/// end a reply are in it.
#[test]
fn a_model_trained_here_answers_the_same_in_llama_cpp() {
    if !has("xllamacpp") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let text =
        "the cat sat on the mat and the dog ran to the red house. then the cat ran to the dog.\n";
    std::fs::write(d.join("t.txt"), text.repeat(100)).unwrap();
    line(
        d,
        "tokenize --data-dir t.txt --tokenizer t.json --train-vocab 300 --out-dir tokens",
    )
    .ok();
    let path = |name: &str| config.join(name).display().to_string();
    let (recipe, template) = (path("recommended.json"), path("chat_template.jinja"));
    let mut args = vec!["train", "--config", &recipe, "--chat-template", &template];
    args.extend([
        "--tokenizer",
        "t.json",
        "--data-dir",
        "t.txt",
        "--output-dir",
        "run",
    ]);
    args.extend([
        "--max-steps",
        "60",
        "--lr-warmup-steps",
        "5",
        "--device",
        "cpu",
    ]);
    for set in ["max_seq_len=64", "num_layers=2", "intermediate_size=512"] {
        args.extend(["--set", set]);
    }
    run(d, &args).ok();
    line(d, "export --model run --format 1bit --output m.1bit").ok();
    line(d, "export --model m.1bit --format gguf --output m.gguf").ok();
    let out = script(d, "llama_text.py", &["m.gguf", "the cat sat", "16"]);
    let theirs: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let args = [
        "generate",
        "--model",
        "m.1bit",
        "--prompt",
        "the cat sat",
        "--max-tokens",
        "16",
    ];
    let more = ["--temperature", "0", "--device", "cpu"];
    let ours = run(d, &[&args[..], &more[..]].concat()).ok().stdout;
    let written = theirs["text"].as_str().unwrap();
    assert!(written.contains("on the mat"), "{written}");
    assert!(ours.contains(written), "{ours:?} and {written:?}");
    // <|user|> the cat sat <|end|> <|assistant|>
    assert_eq!(theirs["chat"], 6);
    // The end of a reply is one of the tokens that end a text.
    line(d, "import --input m.gguf --output back.1bit").ok();
    let ends = |model: &str| {
        let source = FileSource::open(&d.join(model)).unwrap();
        let metadata = pollster::block_on(OneBit::open(&source)).unwrap().metadata;
        let tokenizer = Tokenizer::from_json(&metadata.tokenizer.unwrap()).unwrap();
        let ends = metadata.special_tokens.unwrap().end;
        (tokenizer.id("<|end|>").unwrap(), ends)
    };
    let (end, all) = ends("back.1bit");
    assert!(all.contains(&end), "{end} in {all:?}");
}

/// A run that was stopped and resumed from an earlier checkpoint, as TensorBoard shows it: the
/// lines of `metrics.jsonl`.
#[test]
fn tensorboard_reads_runs() {
    if !has("tensorboard") {
        return;
    }
    let dir = workplace();
    let d = dir.path();
    let run = |flags: &str| {
        let command = format!(
            "train --config config.json --tokenizer tok.json --data-dir tokens --val-data-dir tokens --output-dir run \
             --device cpu --batch-size 2 --log-every 1 --set seq_len=16 --set eval_every=4 --tensorboard {flags}"
        );
        line(d, &command).ok();
    };
    run("--max-steps 6 --save-every 3");
    std::fs::remove_dir_all(d.join("run/step-0000006")).unwrap();
    run("--max-steps 8 --resume");
    let shown = script(d, "tensorboard_scalars.py", &["run"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let lines = metrics(&d.join("run"));
    for tag in ["train_loss", "learning_rate", "grad_norm", "val_loss"] {
        let told: Vec<(u64, f32)> = lines
            .iter()
            .filter_map(|line| Some((line["step"].as_u64()?, line[tag].as_f64()? as f32)))
            .collect();
        let seen = shown[tag].as_array().unwrap().iter();
        let seen: Vec<(u64, f32)> = seen
            .map(|pair| (pair[0].as_u64().unwrap(), pair[1].as_f64().unwrap() as f32))
            .collect();
        assert_eq!(seen, told, "{tag}");
    }
}
