//! Tiny models of every decoder that can be imported, against transformers' logits. The script
//! beside them, engine/tests/fixtures/zoo.py, makes them.

use super::*;
use crate::export::{ExportError, GgufOptions, HfOptions, write_gguf, write_hf};
use crate::onebit::OneBit as File;
use ternary_common::bytes::ByteSource;

/// Relative error (L2) of logits: f32 sums in another order.
const EXACT: f64 = 1e-5;
/// As many there are, so that none is forgotten.
const MODELS: usize = 26;
const GGUF_MODELS: usize = 24;

fn every_model(mut check: impl FnMut(&str, &Path)) {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/zoo");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(zoo)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert_eq!(paths.len(), MODELS);
    for path in paths {
        check(&path.file_name().unwrap().to_string_lossy(), &path);
    }
}

fn agrees_exactly(name: &str, path: &Path, backend: Box<dyn Backend>) -> f64 {
    let (bytes, report) =
        imported(&folder(path), &exact()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let told = |warning: &String| !warning.contains("tokenizer.json");
    assert!(
        !report.warnings.iter().any(told),
        "{name}: {:?}",
        report.warnings
    );
    let want = expected(path);
    let mut model = load(bytes, backend);
    let error = relative_error(&logits(&mut model, &want.prompt), &want.logits);
    let found = greedy(&mut model, &want.prompt, want.greedy.len());
    if error <= EXACT {
        assert_eq!(found, want.greedy, "{name}");
    }
    error
}

fn all_agree(backend: impl Fn() -> Box<dyn Backend>) {
    let mut wrong = Vec::new();
    every_model(|name, path| {
        let error = agrees_exactly(name, path, backend());
        if error > EXACT {
            wrong.push(format!("{name}: relative error {error:.1e}"));
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_decoder_gives_the_logits_of_transformers() {
    all_agree(cpu);
}

#[test]
fn every_decoder_gives_the_same_on_the_gpu() {
    use ternary_backend::BackendOptions;
    use ternary_backend::gpu::GpuBackend;
    if std::env::var("ONEBIT_GPU_TESTS").is_ok_and(|v| v == "off") {
        return;
    }
    all_agree(|| {
        let backend = pollster::block_on(GpuBackend::new(&BackendOptions::default()));
        Box::new(backend.unwrap())
    });
}

/// A model of the zoo with its configuration and its tensors changed.
fn changed(
    name: &str,
    change: impl Fn(&mut serde_json::Value, &mut Tensors),
    options: &Options,
) -> Result<(Vec<u8>, Report), ImportError> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/zoo")
        .join(name);
    let text = std::fs::read_to_string(path.join("config.json")).unwrap();
    let mut config = serde_json::from_str(&text).unwrap();
    let source = FileSource::open(&path.join("model.safetensors")).unwrap();
    let mut tensors = Tensors::new();
    let found = pollster::block_on(safetensors::open(&source, 0)).unwrap();
    for (name, t) in found.tensors {
        let bytes = pollster::block_on(crate::source::checkpoint::read(
            &source,
            t.offset,
            t.bytes as usize,
        ));
        let mut values = vec![0.0; t.shape.iter().product()];
        t.storage.read_floats(&bytes.unwrap(), &mut values).unwrap();
        tensors.insert(name, (t.shape, values));
    }
    change(&mut config, &mut tensors);
    imported(&input_of(&config, file_of(&tensors)), options)
}

fn config_of(
    name: &str,
    change: impl Fn(&mut serde_json::Value, &mut Tensors),
) -> (ModelConfig, Vec<String>) {
    let (_, report) = changed(name, change, &exact()).unwrap_or_else(|e| panic!("{name}: {e}"));
    (report.config, report.warnings)
}

/// What was read silently wrong, or refused without need.
#[test]
fn configurations_mean_what_transformers_takes_them_for() {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    // Mistral has a window of 4096 without the key, whatever `use_sliding_window` says; null is
    // none.
    let (c, _) = config_of("mistral-window", |c, _| {
        c.as_object_mut().unwrap().remove("sliding_window");
        c["max_position_embeddings"] = 8192.into();
    });
    assert_eq!(c.sliding_window, Some(4096));
    let (c, _) = config_of("mistral-window", |c, _| {
        c["use_sliding_window"] = false.into();
    });
    assert_eq!(c.sliding_window, Some(8));
    let (c, _) = config_of("mistral-window", |c, _| {
        c["sliding_window"] = serde_json::Value::Null;
    });
    assert_eq!(c.sliding_window, None);
    // Qwen's window is off until it is switched on.
    let (c, _) = config_of("qwen2-window", |c, _| {
        c["use_sliding_window"] = false.into();
    });
    assert_eq!(c.sliding_window, None);
    // Older files of Gemma 3 have its two RoPEs side by side.
    let (new, _) = config_of("gemma3", |_, _| {});
    let (old, _) = config_of("gemma3", |c, _| {
        let fields = c.as_object_mut().unwrap();
        fields.remove("rope_parameters");
        fields.remove("layer_types");
        fields.insert("sliding_window_pattern".into(), 3.into());
        fields.insert("rope_theta".into(), json("1000000.0"));
        fields.insert("rope_local_base_freq".into(), json("10000.0"));
        fields.insert(
            "rope_scaling".into(),
            json(r#"{"type": "linear", "factor": 8.0}"#),
        );
    });
    assert_eq!(new, old);
    assert_eq!(new.local_rope_theta, Some(10_000.0));
    assert_eq!(new.windowed_layers, Some(vec![0, 1]));
    // A share of a head under its older name.
    let (c, _) = config_of("gpt-neox", |c, _| {
        c.as_object_mut().unwrap().remove("rope_parameters");
        c["rotary_pct"] = json("0.5");
    });
    assert_eq!(c.rotary_dim, Some(4));
    // Null is as good as absent, and so is what says nothing.
    let (c, _) = config_of("llama-linear", |c, _| {
        c["rope_scaling"] = serde_json::Value::Null;
        c["new_switch"] = false.into();
        c["new_list"] = json("[]");
    });
    assert!(c.rope_scaling.is_some());
}

#[test]
fn a_head_of_its_own_is_used_and_told_of() {
    let (c, warnings) = config_of("qwen2", |_, t| {
        let (shape, values) = t["model.embed_tokens.weight"].clone();
        let values = values.iter().map(|v| v + 0.5).collect();
        t.insert("lm_head.weight".into(), (shape, values));
    });
    assert!(!c.tie_word_embeddings);
    assert!(warnings.iter().any(|w| w.contains("lm_head.weight")));
    let (c, warnings) = config_of("qwen2", |_, t| {
        let same = t["model.embed_tokens.weight"].clone();
        t.insert("lm_head.weight".into(), same);
    });
    assert!(c.tie_word_embeddings);
    assert!(!warnings.iter().any(|w| w.contains("lm_head.weight")));
}

#[test]
fn names_without_their_prefix_are_the_same_model() {
    for name in ["qwen2", "gpt2", "gpt-neox"] {
        let (plain, _) = changed(name, |_, _| {}, &exact()).unwrap();
        let renamed = changed(
            name,
            |_, t| {
                *t = std::mem::take(t)
                    .into_iter()
                    .map(|(name, values)| {
                        let prefixes = ["model.", "transformer.", "gpt_neox."];
                        let inner = prefixes.iter().find_map(|p| name.strip_prefix(p));
                        (inner.unwrap_or(&name).to_owned(), values)
                    })
                    .collect();
            },
            &exact(),
        );
        assert!(plain == renamed.unwrap().0, "{name}");
    }
}

/// A token that the model cannot write ends nothing, and is said not to.
#[test]
fn an_end_beyond_the_vocabulary_is_left_out_and_told() {
    let ends = |eos: serde_json::Value| {
        let (bytes, report) =
            changed("qwen2", |c, _| c["eos_token_id"] = eos.clone(), &exact()).unwrap();
        let file = pollster::block_on(File::open(&MemorySource::new("model", bytes))).unwrap();
        let told = report.warnings.into_iter().find(|w| w.contains("eos"));
        (file.metadata.special_tokens.unwrap().end, told)
    };
    assert_eq!(ends(serde_json::json!([3, 95])), (vec![3, 95], None));
    let (end, told) = ends(serde_json::json!([3, 96, 128_001]));
    let told = told.unwrap();
    assert!(
        end == [3] && told.contains("96, 128001") && !told.contains("longest"),
        "{told}"
    );
    let (end, told) = ends(96.into());
    assert!(end.is_empty() && told.unwrap().contains("longest"));
}

#[test]
fn unknown_fields_are_refused_until_they_are_ignored() {
    let change = |c: &mut serde_json::Value, _: &mut Tensors| {
        c["output_gain"] = 1.5.into();
        c["flavor"] = "vanilla".into();
    };
    let e = changed("qwen2", change, &exact()).unwrap_err().to_string();
    assert!(
        e.contains("output_gain") && e.contains("--ignore-key"),
        "{e}"
    );
    let options = Options {
        ignored_keys: vec!["output_gain".into()],
        ..exact()
    };
    let (_, report) = changed("qwen2", change, &options).unwrap();
    for word in ["output_gain", "flavor"] {
        assert!(report.warnings.iter().any(|w| w.contains(word)), "{word}");
    }
}

#[test]
fn a_shorter_context_has_the_first_positions() {
    let options = Options {
        context: Some(64),
        ..exact()
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/zoo/gpt2");
    let (bytes, report) = imported(&folder(&path), &options).unwrap();
    assert_eq!(report.config.max_seq_len, 64);
    let want = expected(&path);
    let mut model = load(bytes, cpu());
    let error = relative_error(&logits(&mut model, &want.prompt), &want.logits);
    assert!(error <= EXACT, "{error}");
}

/// The same models as GGUF files, laid out as llama.cpp's converter does it. Their script,
/// engine/tests/fixtures/zoo_gguf.py, compares them with llama.cpp.
#[test]
fn every_decoder_of_gguf_files_gives_the_logits_of_transformers() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures.join("zoo-gguf")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        // Phi-3 with the matrices of its layers apart.
        let of = if name == "llama-partial" {
            "phi3-longrope"
        } else {
            &name
        };
        let mut input = Input::default();
        input.add("model.gguf", Box::new(FileSource::open(&path).unwrap()));
        let (bytes, report) = imported(&input, &exact()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(report.warnings.is_empty(), "{name}: {:?}", report.warnings);
        let want = expected(&fixtures.join("zoo").join(of));
        let mut model = load(bytes, cpu());
        let error = relative_error(&logits(&mut model, &want.prompt), &want.logits);
        if error > EXACT {
            wrong.push(format!("{name}: relative error {error:.1e}"));
        } else {
            let found = greedy(&mut model, &want.prompt, want.greedy.len());
            assert_eq!(found, want.greedy, "{name}");
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(count, GGUF_MODELS);
}

/// A model written by `to` and imported again.
fn through(
    bytes: &[u8],
    to: impl Fn(&File, &dyn ByteSource) -> Result<Vec<(String, Vec<u8>)>, ExportError>,
) -> Result<(Vec<u8>, Report), ExportError> {
    let source = MemorySource::new("m", bytes.to_vec());
    let file = pollster::block_on(File::open(&source)).unwrap();
    let mut input = Input::default();
    for (name, bytes) in to(&file, &source)? {
        input.add(&name, Box::new(MemorySource::new(&name, bytes)));
    }
    let found = imported(&input, &exact());
    Ok(found.unwrap_or_else(|e| panic!("{e}")))
}

fn folder_of(file: &File, source: &dyn ByteSource) -> Result<Vec<(String, Vec<u8>)>, ExportError> {
    let mut sink = MemorySink::default();
    let options = HfOptions { dense: false };
    let report = pollster::block_on(async {
        write_hf(file, source, options, &mut sink, &mut |_, _| {}).await
    })?;
    let mut files = vec![("model.safetensors".to_owned(), sink.bytes)];
    let others = report.files.into_iter();
    files.extend(others.map(|(name, text)| (name, text.into_bytes())));
    Ok(files)
}

fn gguf_of(file: &File, source: &dyn ByteSource) -> Result<Vec<(String, Vec<u8>)>, ExportError> {
    let mut sink = MemorySink::default();
    let options = GgufOptions { base3: false };
    pollster::block_on(async {
        write_gguf(file, source, options, &mut sink, &mut |_, _| {}).await
    })?;
    Ok(vec![("m.gguf".to_owned(), sink.bytes)])
}

#[test]
fn every_decoder_leaves_and_comes_back() {
    // What neither a Llama nor any other file can say.
    let refused = [
        ("qwen2-window", "sliding_window"),
        ("smollm3", "layers_without_rope"),
    ];
    let mut wrong = Vec::new();
    every_model(|name, path| {
        let (bytes, first) = imported(&folder(path), &exact()).unwrap();
        let want = expected(path);
        let mut check = |way: &str, found: Vec<u8>, report: &Report| {
            let (old, new) = (&first.config, &report.config);
            let mut model = load(found.clone(), cpu());
            let error = relative_error(&logits(&mut model, &want.prompt), &want.logits);
            if error > EXACT {
                wrong.push(format!("{name} to {way}: relative error {error:.1e}"));
            } else if new == old {
                let mut first = load(bytes.clone(), cpu());
                let (a, b) = (
                    logits(&mut model, &want.prompt),
                    logits(&mut first, &want.prompt),
                );
                assert_eq!(a, b, "{name} to {way}");
            } else {
                // The factor of attention's scores is a part of the queries there; Llama 3's
                // scaling and YaRN without whole ends are a divisor for each frequency.
                let divided = ["llama3", "llama-yarn-betas"].contains(&name);
                let scaling = [&new.rope_scaling, &old.rope_scaling][usize::from(divided)];
                let same = ModelConfig {
                    attention_multiplier: old.attention_multiplier,
                    rope_scaling: scaling.clone(),
                    ..new.clone()
                };
                assert_eq!(*old, same, "{name} to {way}");
            }
        };
        let (found, report) = through(&bytes, folder_of).unwrap_or_else(|e| panic!("{name}: {e}"));
        check("a folder", found, &report);
        let refusal = refused.iter().find(|(model, _)| *model == name);
        match (through(&bytes, gguf_of), refusal) {
            (Ok((found, report)), None) => check("GGUF", found, &report),
            (Err(e), Some((_, field))) => assert!(e.to_string().contains(field), "{e}"),
            (Err(e), None) => wrong.push(format!("{name}: {e}")),
            (Ok(_), Some(_)) => wrong.push(format!("{name}: GGUF took it")),
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}
