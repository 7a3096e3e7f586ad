//! Files made to break their readers: refused with what is wrong, or used with a sane result, soon
//! and in little memory.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::*;

/// Small files kept beside the tests; how each was made is in their README.
fn fixture(place: &Place, name: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/hostile")
        .join(name);
    let to = place.at(name);
    std::fs::copy(&from, &to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    to
}

/// CRC-32 as in zip.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// A `.1bit` with its metadata and tensor table changed and its checksums right. New texts must not
/// be longer than the room that is there, so the data stay where they are.
fn edited(path: &Path, change: impl FnOnce(&mut Value, &mut Value, &mut Vec<u8>)) {
    let file = std::fs::read(path).unwrap();
    let u64_at = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize;
    let (meta, table, data) = (u64_at(16), u64_at(24), u64_at(32));
    let mut metadata: Value = serde_json::from_slice(&file[64..64 + meta]).unwrap();
    let mut tensors: Value = serde_json::from_slice(&file[64 + meta..64 + meta + table]).unwrap();
    let mut values = file[data..].to_vec();
    change(&mut metadata, &mut tensors, &mut values);
    for t in tensors.as_array_mut().unwrap() {
        let range = t["offset"].as_u64().unwrap() as usize;
        let end = range + t["length"].as_u64().unwrap() as usize;
        if let Some(bytes) = values.get(range..end) {
            t["crc32"] = json!(crc(bytes));
        }
    }
    let (metadata, tensors) = (metadata.to_string(), tensors.to_string());
    let data = (64 + metadata.len() + tensors.len()).next_multiple_of(64);
    let mut out = file[..16].to_vec();
    for n in [metadata.len(), tensors.len(), data, data + values.len()] {
        out.extend((n as u64).to_le_bytes());
    }
    out.extend(crc(metadata.as_bytes()).to_le_bytes());
    out.extend(crc(tensors.as_bytes()).to_le_bytes());
    let header = crc(&out);
    out.extend(header.to_le_bytes());
    out.extend([0; 4]);
    out.extend(metadata.bytes());
    out.extend(tensors.bytes());
    out.resize(data, 0);
    out.extend(values);
    std::fs::write(path, out).unwrap();
}

/// m.1bit, a model that answers "Yes sir", with a ternary body.
fn model(place: &Place) -> PathBuf {
    reply(&["Yes", " sir"]).write_hf(&place.at("model"));
    put(
        &place.at("map.json"),
        r#"{"embedding": "f16", "layer_modes": ["ternary"], "lm_head": "f16"}"#,
    );
    place.import("model", &["--bit-map", "map.json"]).ok();
    place.at("m.1bit")
}

/// Every command that reads a `.1bit`.
fn readers(place: &Place, model: &str) -> Vec<Output> {
    put(&place.at("t.txt"), "Hello there. ".repeat(100));
    let commands: [&[&str]; 8] = [
        &[
            "generate",
            "--model",
            model,
            "--prompt",
            "Hi!",
            "--device",
            "cpu",
            "--max-tokens",
            "4",
        ],
        &[
            "logits",
            "--model",
            model,
            "--ids",
            "1,2",
            "--output",
            "l.safetensors",
            "--device",
            "cpu",
        ],
        &[
            "eval", "--model", model, "--data", "t.txt", "--device", "cpu",
        ],
        &[
            "export",
            "--model-dir",
            model,
            "--format",
            "gguf",
            "--output",
            "out.gguf",
        ],
        &[
            "export",
            "--model-dir",
            model,
            "--format",
            "hf",
            "--output",
            "out-hf",
        ],
        &[
            "export",
            "--model-dir",
            model,
            "--output",
            "out.1bit",
            "--emit-c-header",
        ],
        &[
            "finetune",
            "--model",
            model,
            "--data-dir",
            "t.txt",
            "--output-dir",
            "run",
            "--max-steps",
            "1",
            "--device",
            "cpu",
        ],
        &[
            "search",
            "--checkpoint",
            model,
            "--val-data",
            "t.txt",
            "--output",
            "s.json",
            "--max-size-mb",
            "1",
            "--max-evals",
            "2",
        ],
    ];
    commands.iter().map(|args| place.run(args)).collect()
}

#[test]
fn every_reader_checks_shapes() {
    let place = Place::new();
    for (rows, name) in [(1, "more rows"), (0, "more columns")] {
        let path = model(&place);
        edited(&path, |_, tensors, values| {
            // The same bytes in another shape, or more of them at the end.
            let mut all = tensors.as_array_mut().unwrap().iter_mut();
            let t = all
                .find(|t| t["name"].as_str().unwrap().ends_with("up_proj.weight"))
                .unwrap();
            let shape = t["shape"].clone();
            let at = 1 - rows;
            t["shape"][at] = json!(shape[at].as_u64().unwrap() * 2);
            t["offset"] = json!(values.len().next_multiple_of(64));
            let length = t["length"].as_u64().unwrap() as usize * 2;
            t["length"] = json!(length);
            let end = values.len().next_multiple_of(64) + length;
            values.resize(end, 0);
        });
        for out in readers(&place, "m.1bit") {
            assert!(!out.success, "{name}: {}", out.args);
            assert!(out.stderr.contains("tensor"), "{name}: {}", out.stderr);
        }
    }
    for name in ["shape-more-rows.1bit", "shape-more-cols.1bit"] {
        fixture(&place, name);
        for out in readers(&place, name) {
            assert!(
                !out.success && out.stderr.contains("shape"),
                "{}: {}",
                out.args,
                out.stderr
            );
        }
    }
}

#[test]
fn damaged_codes_are_refused_or_used_but_never_break_a_reader() {
    let place = Place::new();
    fixture(&place, "codes-rs-90.1bit");
    let code = |out: &Output| out.code;
    for out in readers(&place, "codes-rs-90.1bit") {
        assert!(
            matches!(code(&out), Some(0 | 1)),
            "{}: {:?}\n{}",
            out.args,
            out.code,
            out.stderr
        );
    }
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let place = Place::new();
    for bad in [f32::NAN, f32::INFINITY] {
        let path = model(&place);
        edited(&path, |_, tensors, values| {
            let norm = tensors
                .as_array()
                .unwrap()
                .iter()
                .find(|t| t["name"] == "model.norm.weight")
                .unwrap();
            let at = norm["offset"].as_u64().unwrap() as usize;
            values[at..at + 4].copy_from_slice(&bad.to_le_bytes());
        });
        for out in readers(&place, "m.1bit") {
            assert!(
                !out.success && out.stderr.contains("model.norm.weight"),
                "{}: {}",
                out.args,
                out.stderr
            );
        }
        // As half floats, in an embedding.
        let path = model(&place);
        edited(&path, |_, _, values| {
            values[..2].copy_from_slice(&0x7c00u16.to_le_bytes())
        });
        for out in readers(&place, "m.1bit") {
            assert!(
                !out.success && out.stderr.contains("embed_tokens"),
                "{}: {}",
                out.args,
                out.stderr
            );
        }
    }
    model(&place);
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_";
    let mut weights = Weights::default();
    weights.set(
        &format!("{name}A.weight"),
        Tensor::f32(&[1, 128], &[f32::NAN; 128]),
    );
    weights.set(&format!("{name}B.weight"), Tensor::zeros(&[128, 1]));
    ternary_scripted::write_safetensors(
        &place.at("adapter/adapter_model.safetensors"),
        &weights,
        &[],
    );
    let config =
        json!({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]});
    put(&place.at("adapter/adapter_config.json"), config.to_string());
    place
        .run(&[
            "generate",
            "--model",
            "m.1bit",
            "--adapter",
            "adapter",
            "--prompt",
            "x",
        ])
        .fails(&["lora_A", "NaN"]);
}

#[test]
fn templates_of_strangers_end() {
    let place = Place::new();
    let deep = format!("{{{{ {}true }}}}", "not ".repeat(30_000));
    let templates = [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}x",
        "{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}x",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
        deep.as_str(),
    ];
    for template in templates {
        let path = model(&place);
        edited(&path, |metadata, _, _| {
            metadata["chat_template"] = json!(template)
        });
        let begin = std::time::Instant::now();
        assert_eq!(place.generate("Hi!"), "Yes sir");
        place.chat("Hi\n/exit\n", &[]).fails(&["chat template"]);
        put(&place.at("t.txt"), "Hi! Hi!");
        place
            .run(&[
                "eval", "--model", "m.1bit", "--data", "t.txt", "--device", "cpu",
            ])
            .ok();
        reply(&["Yes", " sir"])
            .template(template)
            .write_hf(&place.at("model"));
        let out = place.import("model", &[]).ok();
        assert!(out.stderr.contains("cannot chat"), "{}", out.stderr);
        assert!(begin.elapsed().as_secs() < 60, "{template:.40}");
    }
}

#[test]
fn tokenizers_of_strangers_break_nothing() {
    let place = Place::new();
    put(&place.at("t.txt"), "Hello there, ".repeat(50));
    for (name, word) in [
        ("tok-charsmap.json", "charsmap"),
        ("tok-emptyreplace.json", "empty pattern"),
        ("tok-fixedlength.json", "FixedLength"),
        ("tok-subword.json", "prefix"),
    ] {
        fixture(&place, name);
        place
            .run(&[
                "tokenize",
                "--data-dir",
                "t.txt",
                "--tokenizer",
                name,
                "--output",
                "t.tokens",
            ])
            .fails(&[word]);
    }
    fixture(&place, "tok-padding.1bit");
    for out in readers(&place, "tok-padding.1bit") {
        assert!(
            matches!(out.code, Some(0 | 1)),
            "{}: {}",
            out.args,
            out.stderr
        );
    }
    fixture(&place, "tok-id-2147483648.1bit");
    for out in readers(&place, "tok-id-2147483648.1bit") {
        let known = out.success || out.stderr.contains("2147483648");
        assert!(
            known && matches!(out.code, Some(0 | 1)),
            "{}: {}",
            out.args,
            out.stderr
        );
    }
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let place = Place::new();
    let path = model(&place);
    let red = "\u{1b}[31mred\u{7}\u{202e}";
    edited(&path, |metadata, _, _| {
        for key in ["name", "description", "license"] {
            metadata[key] = json!(red);
        }
    });
    for out in [
        place.run(&["inspect", "m.1bit"]).ok(),
        place.chat("/exit\n", &[]).ok(),
    ] {
        let text = out.stdout + &out.stderr;
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
        assert!(text.contains("\\u{1b}"), "{text}");
    }
    edited(&path, |_, tensors, _| tensors[0]["name"] = json!(red));
    let out = place.run(&["inspect", "m.1bit"]);
    assert!(!(out.stdout + &out.stderr).contains('\u{1b}'));
}

#[test]
fn a_context_out_of_all_proportion_takes_no_memory() {
    let place = Place::new();
    let path = model(&place);
    edited(&path, |metadata, _, _| {
        metadata["config"]["max_seq_len"] = json!(1 << 24)
    });
    let out = place
        .run(&[
            "generate", "--model", "m.1bit", "--prompt", "Hi!", "--device", "cpu", "--json",
        ])
        .ok();
    let context = out.json()["stats"]["context_size"].as_u64().unwrap();
    assert!((512..1 << 20).contains(&context), "{context}");
    assert!(out.stderr.contains("--context"), "{}", out.stderr);
    let some = [
        "generate",
        "--model",
        "m.1bit",
        "--prompt",
        "Hi!",
        "--device",
        "cpu",
        "--json",
        "--context",
        "1000",
    ];
    assert_eq!(place.run(&some).ok().json()["stats"]["context_size"], 1000);
    place
        .run(&[
            "generate",
            "--model",
            "m.1bit",
            "--prompt",
            "x",
            "--context",
            "99999999",
        ])
        .fails(&["99999999", "16777216"]);
}
